// What Markdown does not make: heads of code with a button, formulas, names for screen readers.

import { colour } from "./highlight.ts";
import { renderMath } from "./math.ts";

/** `whole`: the block is finished; colours and formulas are worth while. */
export function dress(block: HTMLElement, whole: boolean): void {
  block.dir = "auto"; // as its own text is written
  for (const pre of block.querySelectorAll("pre")) {
    const frame = document.createElement("figure");
    frame.className = "code";
    frame.dir = "ltr";
    const head = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = pre.dataset["language"] || "text";
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "copy";
    copy.textContent = "Copy";
    head.append(name, copy);
    pre.replaceWith(frame);
    pre.tabIndex = 0; // so that the keyboard can scroll it
    pre.setAttribute("aria-label", "Code");
    pre.setAttribute("role", "group");
    frame.append(head, pre);
    if (whole) near.observe(pre);
  }
  for (const math of block.querySelectorAll(".math")) if (whole) near.observe(math);
  for (const table of block.querySelectorAll(".table")) {
    table.setAttribute("role", "group");
    table.setAttribute("aria-label", "Table");
  }
  for (const link of block.querySelectorAll("a")) link.title ||= link.href;
  for (const cite of block.querySelectorAll<HTMLElement>(".cite")) {
    cite.setAttribute("aria-label", `Source ${cite.dataset["cite"]}`);
  }
}

/** Colours and formulas are made when their block comes near the window. */
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      if (target instanceof HTMLPreElement) void colourCode(target);
      else if (target instanceof HTMLElement) void renderMath(target);
    }
  },
  { rootMargin: "800px" },
);

async function colourCode(pre: HTMLPreElement): Promise<void> {
  const code = pre.querySelector("code");
  if (!code) return;
  await colour(code, pre.dataset["language"] ?? "");
  pre.dispatchEvent(new Event("coloured", { bubbles: true }));
}
