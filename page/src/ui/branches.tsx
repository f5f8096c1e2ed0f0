// Where a message has siblings: which of them is shown, and the way to the others.

import { talk } from "../store/chat.ts";
import type { Entry } from "../store/entry.ts";
import { Left, Right } from "./icons.tsx";

/** Shows the sibling `step` further, and gives it the focus, or the part of it that `inside` names. */
export function toSibling(entry: Entry, step: number, inside = ""): void {
  const all = talk.value.family.value.siblings(entry.id);
  const next = all[all.indexOf(entry) + step];
  if (!next) return;
  talk.value.choose(next.id);
  focusMessage(next.id, inside);
}

export function focusMessage(id: string, inside = ""): void {
  requestAnimationFrame(() => {
    const message = document.getElementById(id);
    const part = inside ? message?.querySelector<HTMLElement>(`${inside}:not(:disabled)`) : null;
    (part ?? message)?.focus();
  });
}

export function Branches({ entry }: { entry: Entry }) {
  const all = talk.value.family.value.siblings(entry.id);
  if (all.length < 2) return null;
  const at = all.indexOf(entry);
  return (
    <span class="branches" role="group" aria-label="Branches">
      <button
        type="button"
        class="quiet small before"
        aria-label="Branch before"
        disabled={at === 0}
        onClick={() => toSibling(entry, -1, ".before")}
      >
        <Left />
      </button>
      <span aria-hidden="true">
        {at + 1} / {all.length}
      </span>
      <span class="hidden">
        Branch {at + 1} of {all.length}
      </span>
      <button
        type="button"
        class="quiet small behind"
        aria-label="Branch behind"
        disabled={at === all.length - 1}
        onClick={() => toSibling(entry, 1, ".behind")}
      >
        <Right />
      </button>
    </span>
  );
}
