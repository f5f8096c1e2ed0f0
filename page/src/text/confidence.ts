// Shading of the tokens that a model was unsure of. Tokens are stretches of the Markdown; what is
// seen is its rendering. The characters of a block are found again in its source, in order, and
// the browser paints ranges (CSS custom highlights), so that no element changes.

import type { TokenRange } from "../core/unsure.ts";

const REACH = 400; // how far the next character of a rendering is looked for in its source

const highlights = "highlights" in CSS && typeof Highlight !== "undefined" ? CSS.highlights : null;

interface Painted {
  level: number;
  range: Range;
}

const painted = new WeakMap<HTMLElement, Painted[]>();

export function shadingWorks(): boolean {
  return highlights !== null;
}

/** `source` is the Markdown of the block, which begins at `offset` in the text. */
export function shade(
  block: HTMLElement,
  source: string,
  offset: number,
  tokens: readonly TokenRange[],
): void {
  if (!highlights || tokens.length === 0) return;
  const all: Painted[] = [];
  let at = 0; // in the source
  let next = 0; // of the tokens
  const texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement?.closest("figcaption, .cite, .katex")
      ? NodeFilter.FILTER_REJECT
      : NodeFilter.FILTER_ACCEPT,
  );
  while (texts.nextNode()) {
    const node = texts.currentNode as Text;
    let token: TokenRange | null = null;
    let start = 0;
    const turn = (to: TokenRange | null, here: number) => {
      if (to === token) return;
      if (token) {
        const range = new Range();
        range.setStart(node, start);
        range.setEnd(node, here);
        all.push({ level: token.level, range });
      }
      token = to;
      start = here;
    };
    for (let i = 0; i < node.length; i++) {
      const found = source.indexOf(node.data[i]!, at);
      if (found < 0 || found - at > REACH) {
        turn(null, i);
        continue;
      }
      at = found + 1;
      const position = offset + found;
      while (next < tokens.length && tokens[next]!.end <= position) next++;
      const here = tokens[next];
      turn(here && here.start <= position ? here : null, i);
    }
    turn(null, node.length);
  }
  for (const { level, range } of all) registry(level).add(range);
  painted.set(block, all);
}

export function unshade(block: HTMLElement): void {
  for (const { level, range } of painted.get(block) ?? []) registry(level).delete(range);
  painted.delete(block);
}

function registry(level: number): Highlight {
  const name = `unsure-${level}`;
  let found = highlights!.get(name);
  if (!found) {
    found = new Highlight();
    highlights!.set(name, found);
  }
  return found;
}
