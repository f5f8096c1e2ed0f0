// A text that grows is cut into blocks: paragraphs, lists, tables, code. A block is finished when a
// whole line has opened another behind it, for Markdown never opens a closed block again. What is
// finished is parsed once; only the rest is parsed again when text arrives.

import type { MarkdownIt, Token } from "markdown-it";

type References = Record<string, { title: string; href: string }>;

/** One block: where it stands in the text, and its HTML, not yet sanitised. */
export interface Block {
  start: number;
  end: number;
  html: string;
}

/** Code whose closing fence has not come yet: it only grows, so it needs no parsing. */
export interface OpenCode {
  start: number;
  language: string;
  code: string;
}

export interface Progress {
  finished: Block[];
  rest: Block[];
  code: OpenCode | null;
}

export class BlockSplitter {
  /** Links that were defined in finished blocks. */
  references: Readonly<References>;
  private readonly md: MarkdownIt;
  private done = 0;
  private fence: Fence | null = null;

  /** `references`: links that are known beforehand. */
  constructor(md: MarkdownIt, references: Readonly<References> = {}) {
    this.md = md;
    this.references = references;
  }

  /** Where the part begins that is parsed again. */
  get settled(): number {
    return this.done;
  }

  /** What is new in `text`, which begins with the text of the last call. */
  advance(text: string, ended: boolean): Progress {
    const finished: Block[] = [];
    for (;;) {
      this.fence ??= openFence(text, this.done);
      if (!this.fence) break;
      const close = this.fence.close(text, ended);
      if (close === null && !ended) return { finished, rest: [], code: this.fence.content(text) };
      const end = close ?? text.length;
      finished.push(...this.parse(text, this.done, end).blocks);
      this.done = end;
      this.fence = null;
    }
    const { blocks, closed: opened } = this.parse(text, this.done, text.length);
    const closed = ended ? blocks.length : opened;
    if (closed > 0 || ended) {
      const end = closed === blocks.length ? text.length : blocks[closed]!.start;
      this.define(text.slice(this.done, end));
      finished.push(...blocks.slice(0, closed));
      this.done = end;
      if (!ended && openFence(text, end)) {
        const more = this.advance(text, ended);
        return { ...more, finished: [...finished, ...more.finished] };
      }
    }
    return { finished, rest: blocks.slice(closed), code: null };
  }

  /** The blocks of a part, and how many of them the lines that are whole have closed. */
  private parse(text: string, from: number, to: number): { blocks: Block[]; closed: number } {
    const part = text.slice(from, to);
    if (part.trim() === "") return { blocks: [], closed: 0 };
    const starts = lineStarts(part, from);
    const env = { references: { ...this.references } };
    const tokens = this.md.parse(part, env);
    const whole = starts.length - 1; // the last line has no end yet
    const blocks: Block[] = [];
    let closed = 0;
    for (const group of groups(tokens)) {
      if (blocks.length > 0 && opened(group[0]!) <= whole) closed = blocks.length;
      const map = group[0]!.map ?? [0, 0];
      const start = starts[map[0]] ?? to;
      blocks.push({ start, end: to, html: this.md.renderer.render(group, this.md.options, env) });
      const before = blocks.at(-2);
      if (before) before.end = start;
    }
    return { blocks, closed };
  }

  private define(part: string): void {
    if (!part.includes("]:")) return;
    const env: { references?: References } = { references: { ...this.references } };
    this.md.parse(part, env);
    this.references = env.references ?? {};
  }
}

class Fence {
  private readonly start: number;
  private readonly body: number;
  private readonly mark: string;
  private readonly language: string;
  private seen: number;

  constructor(start: number, body: number, mark: string, language: string) {
    this.start = start;
    this.body = body;
    this.mark = mark;
    this.language = language;
    this.seen = body;
  }

  /** Where the block ends, if its closing fence has come. */
  close(text: string, ended: boolean): number | null {
    for (;;) {
      let end = text.indexOf("\n", this.seen);
      if (end < 0) {
        if (!ended) return null;
        end = text.length;
      }
      if (this.closes(text.slice(this.seen, end))) return Math.min(end + 1, text.length);
      if (end >= text.length) return null;
      this.seen = end + 1;
    }
  }

  content(text: string): OpenCode {
    // A line that may become the closing fence is not shown yet.
    const line = text.slice(this.seen);
    const mark = this.mark[0]!;
    const waits = line !== "" && [...line.trim()].every((char) => char === mark);
    const end = waits ? this.seen : text.length;
    return { start: this.start, language: this.language, code: text.slice(this.body, end) };
  }

  private closes(line: string): boolean {
    const found = /^ {0,3}(`{3,}|~{3,})[ \t]*\r?$/.exec(line);
    return found !== null && found[1]!.startsWith(this.mark);
  }
}

/** The fence of code that begins at `at`, if its first line is whole. */
function openFence(text: string, at: number): Fence | null {
  let start = at;
  while (text[start] === "\n" || text[start] === "\r") start++;
  const end = text.indexOf("\n", start);
  if (end < 0) return null;
  const found = /^(`{3,}|~{3,})([^\n]*)$/.exec(text.slice(start, end));
  if (!found || (found[1]!.startsWith("`") && found[2]!.includes("`"))) return null;
  const language = found[2]!.trim().split(/\s+/)[0] ?? "";
  return new Fence(start, end + 1, found[1]!, language);
}

/** How many lines must be whole for a block to be what it seems. */
function opened(token: Token): number {
  const [start, end] = token.map ?? [0, 0];
  if (token.type === "table_open") return start + 2; // the line under its head makes it a table
  if (token.type === "math_block") return token.meta?.closed ? end : Infinity;
  return start + 1;
}

function lineStarts(part: string, from: number): number[] {
  const starts = [from];
  for (let i = part.indexOf("\n"); i >= 0; i = part.indexOf("\n", i + 1)) starts.push(from + i + 1);
  return starts;
}

/** Tokens by the outermost block they belong to. */
function groups(tokens: Token[]): Token[][] {
  const found: Token[][] = [];
  let depth = 0;
  for (const token of tokens) {
    if (depth === 0) found.push([]);
    found.at(-1)!.push(token);
    depth += token.nesting;
  }
  return found;
}
