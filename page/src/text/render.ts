// An answer as elements. Finished blocks are made once; the last one again when text arrives, and
// not more often than a frame can bear.

import { BlockSplitter, type Block } from "../core/blocks.ts";
import { MARK, marked, plain, type Citation } from "../core/citations.ts";
import type { TokenRange } from "../core/unsure.ts";
import { shade, unshade } from "./confidence.ts";
import { dress } from "./dress.ts";
import { makeMarkdown } from "./markdown.ts";
import { sanitize } from "./sanitize.ts";

const md = makeMarkdown();

const SHARE = 4; // parsing a last block that is very long takes at most a quarter of the time
const PART = 24; // blocks

export interface Shown {
  text: string;
  ended: boolean;
  citations: readonly Citation[];
  /** Which tokens between two offsets the model was unsure of; null without shading. */
  unsure: ((start: number, end: number) => TokenRange[]) | null;
}

export class AnswerView {
  private readonly host: HTMLElement;
  private readonly told: (text: string) => void;
  private splitter = new BlockSplitter(md);
  private source = "";
  private shown: Shown | null = null;
  private part: HTMLElement | null = null;
  private last: HTMLElement[] = [];
  private code: Text | null = null;
  private notBefore = 0;
  private waiting = 0;

  /** `told` gets the text of each block that is finished while it comes. */
  constructor(host: HTMLElement, told: (text: string) => void) {
    this.host = host;
    this.told = told;
    host.addEventListener("coloured", (event) => {
      const block = (event.target as Element).closest<HTMLElement>(".block");
      if (block) this.shadeOne(block);
    });
  }

  show(next: Shown): void {
    clearTimeout(this.waiting);
    const before = this.shown;
    this.shown = next;
    const source = plain(next.text);
    if (before?.ended && next.ended && before.text === next.text) {
      if (before.citations !== next.citations) this.complete(source);
      else if (before.unsure !== next.unsure) this.shadeAll();
      return;
    }
    if (before && (before.ended || !source.startsWith(this.source))) this.reset();
    const live = before !== null && !before.ended;
    const now = performance.now();
    if (!next.ended && now < this.notBefore) {
      this.waiting = window.setTimeout(() => this.advance(source, live), this.notBefore - now);
      return;
    }
    this.advance(source, live);
    if (next.ended) this.complete(source);
    if (before && before.unsure !== next.unsure) this.shadeAll();
  }

  /** What is known only at the end: citations, and links that were defined behind their use. */
  private complete(source: string): void {
    const { citations } = this.shown!;
    const { references } = this.splitter;
    if (citations.length === 0 && Object.keys(references).length === 0) return;
    this.reset();
    this.splitter = new BlockSplitter(md, references);
    this.advance(marked(source, citations), false);
  }

  clear(): void {
    clearTimeout(this.waiting);
    for (const block of this.blocks()) unshade(block);
  }

  private reset(): void {
    this.clear();
    this.splitter = new BlockSplitter(md);
    this.source = "";
    this.host.replaceChildren();
    this.part = null;
    this.last = [];
    this.code = null;
    this.notBefore = 0;
  }

  private advance(source: string, live: boolean): void {
    const began = performance.now();
    this.source = source;
    const { finished, rest, code } = this.splitter.advance(source, this.shown!.ended);
    if (finished.length > 0) {
      this.dropLast();
      for (const block of this.append(finished, true)) if (live) this.told(spoken(block));
    }
    if (code) {
      this.showOpenCode(code.language, code.code);
    } else {
      this.dropLast();
      this.last = this.append(rest, false);
    }
    const now = performance.now();
    this.notBefore = now - began > 4 ? now + (now - began) * (SHARE - 1) : 0;
  }

  private dropLast(): void {
    for (const block of this.last) {
      unshade(block);
      block.remove();
    }
    this.last = [];
    this.code = null;
  }

  private append(blocks: readonly Block[], whole: boolean): HTMLElement[] {
    if (blocks.length === 0) return [];
    const html = blocks.map((block) => `<div class="block">${block.html}</div>`).join("");
    const made = [...sanitize(html).children] as HTMLElement[];
    made.forEach((block, i) => {
      block.dataset["start"] = String(blocks[i]!.start);
      block.dataset["end"] = String(blocks[i]!.end);
      dress(block, whole);
    });
    for (const block of made) {
      this.place(block);
      this.shadeOne(block);
    }
    return made;
  }

  /** Blocks stand in parts: what is far away the browser leaves out, part by part. */
  private place(block: HTMLElement): void {
    if (!this.part || this.part.childElementCount >= PART) {
      this.part = document.createElement("div");
      this.part.className = "part";
      this.host.append(this.part);
    }
    this.part.append(block);
  }

  private blocks(): NodeListOf<HTMLElement> {
    return this.host.querySelectorAll(".block");
  }

  private showOpenCode(language: string, text: string): void {
    if (!this.code) {
      this.dropLast();
      const block = sanitize('<div class="block"><pre><code></code></pre></div>')
        .firstElementChild as HTMLElement;
      const pre = block.querySelector("pre")!;
      pre.dataset["language"] = language;
      this.code = new Text();
      pre.firstElementChild!.append(this.code);
      dress(block, false);
      this.place(block);
      this.last = [block];
    }
    const { code } = this;
    if (text.startsWith(code.data)) code.appendData(text.slice(code.data.length));
    else code.data = text;
  }

  private shadeAll(): void {
    for (const block of this.blocks()) this.shadeOne(block);
  }

  private shadeOne(block: HTMLElement): void {
    unshade(block);
    const unsure = this.shown?.unsure;
    const { start: from, end: to } = block.dataset;
    if (!unsure || from === undefined || to === undefined) return;
    let source = this.source.slice(Number(from), Number(to));
    let start = Number(from);
    if (this.shown!.ended && this.shown!.citations.length > 0) {
      source = source.replace(MARK, "");
      start = this.source.slice(0, start).replace(MARK, "").length;
    }
    shade(block, source, start, unsure(start, start + source.length));
  }
}

function spoken(block: HTMLElement): string {
  return block.querySelector("pre") ? "Code." : (block.textContent ?? "");
}
