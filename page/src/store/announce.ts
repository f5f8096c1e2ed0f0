// What a screen reader is told: finished paragraphs and changes of state, never single tokens.

import { signal } from "@preact/signals";

export const announced = signal<readonly string[]>([]);

let clearing: ReturnType<typeof setTimeout> | undefined;

export function announce(text: string): void {
  const said = text.trim();
  if (!said) return;
  announced.value = [...announced.value, said];
  clearTimeout(clearing);
  clearing = setTimeout(() => (announced.value = []), 4000);
}
