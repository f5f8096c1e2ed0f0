// Mathematics in Markdown: $x$, $$x$$, \(x\) and \[x\]. The rules leave elements with the TeX as
// text; `render` turns them into formulas once KaTeX is there, which is loaded when first needed.

import type { MarkdownIt } from "markdown-it";

const BLOCK = [
  { open: "$$", close: "$$" },
  { open: "\\[", close: "\\]" },
];

export function mathRules(md: MarkdownIt): void {
  md.block.ruler.before("fence", "math_block", (state, from, to, silent) => {
    if (state.sCount[from]! - state.blkIndent >= 4) return false;
    const line = (at: number) => state.src.slice(state.bMarks[at]! + state.tShift[at]!, state.eMarks[at]);
    const first = line(from);
    const kind = BLOCK.find(({ open }) => first.startsWith(open));
    if (!kind) return false;
    let rest = first.slice(kind.open.length);
    const lines: string[] = [];
    let next = from;
    let closed = false;
    for (;;) {
      const end = rest.trimEnd();
      if (end.endsWith(kind.close)) {
        lines.push(end.slice(0, -kind.close.length));
        closed = true;
        next++;
        break;
      }
      if (rest.includes(kind.close)) return false; // text follows: it is inside a paragraph
      lines.push(rest);
      next++;
      if (next >= to) break;
      if (state.isEmpty(next) || state.sCount[next]! < state.blkIndent) return false;
      rest = line(next);
    }
    if (lines.join("").trim() === "" && closed) return false;
    if (silent) return true;
    const token = state.push("math_block", "div", 0);
    token.block = true;
    token.content = lines.join("\n").trim();
    token.map = [from, next];
    token.meta = { closed };
    state.line = next;
    return true;
  }, { alt: ["paragraph", "reference", "blockquote", "list"] });

  md.inline.ruler.before("escape", "math_inline", (state, silent) => {
    const found = inline(state.src, state.pos, state.posMax);
    if (!found) return false;
    if (!silent) {
      const token = state.push("math_inline", "span", 0);
      token.content = found.tex;
      token.meta = { display: found.display };
    }
    state.pos = found.end;
    return true;
  });

  const escape = md.utils.escapeHtml;
  md.renderer.rules["math_block"] = (tokens, at) =>
    `<div class="math" data-display="1">${escape(tokens[at]!.content)}</div>\n`;
  md.renderer.rules["math_inline"] = (tokens, at) => {
    const display = tokens[at]!.meta?.display ? ' data-display="1"' : "";
    return `<span class="math"${display}>${escape(tokens[at]!.content)}</span>`;
  };
}

interface Inline {
  tex: string;
  end: number;
  display: boolean;
}

function inline(src: string, at: number, max: number): Inline | null {
  for (const [open, close, display] of [
    ["\\(", "\\)", false],
    ["\\[", "\\]", true],
    ["$$", "$$", true],
  ] as const) {
    if (!src.startsWith(open, at)) continue;
    const end = src.indexOf(close, at + open.length);
    if (end < 0 || end + close.length > max) return null;
    const tex = src.slice(at + open.length, end);
    return tex.trim() === "" ? null : { tex, end: end + close.length, display };
  }
  if (src[at] !== "$") return null;
  // As prose has prices: no space inside the dollars, and no digit behind the second.
  if (/\s/.test(src[at + 1] ?? " ")) return null;
  for (let i = at + 1; i < max; i++) {
    if (src[i] === "\\") i++;
    else if (src[i] === "$") {
      if (/\s/.test(src[i - 1]!) || /[0-9]/.test(src[i + 1] ?? "")) return null;
      const tex = src.slice(at + 1, i);
      return tex === "" ? null : { tex, end: i + 1, display: false };
    }
  }
  return null;
}

let katex: Promise<typeof import("katex").default> | null = null;

function load(): Promise<typeof import("katex").default> {
  katex ??= Promise.all([import("katex"), import("katex/dist/katex.min.css")]).then(
    ([module]) => module.default,
  );
  return katex;
}

/** Turns the TeX in an element into a formula; what is not TeX stays as it was written. */
export async function renderMath(element: HTMLElement): Promise<void> {
  const tex = element.textContent ?? "";
  const { render } = await load();
  if (!element.isConnected) return;
  const display = element.dataset["display"] !== undefined;
  try {
    render(tex, element, { displayMode: display, throwOnError: true, trust: false, maxExpand: 500 });
    element.classList.add("drawn");
  } catch (error) {
    element.textContent = tex;
    element.classList.add("broken");
    element.title = error instanceof Error ? error.message : String(error);
  }
}
