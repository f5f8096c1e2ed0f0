// What a screen reader is told: finished paragraphs and changes of state, never single tokens.

import { signal } from "@preact/signals";

const KEPT = 8; // what was said before those has been read out, or has been overtaken

export interface Announcement {
  id: number;
  text: string;
}

export const announced = signal<readonly Announcement[]>([]);

let said = 0;
let clearing: ReturnType<typeof setTimeout> | undefined;

export function announce(text: string): void {
  const trimmed = text.trim();
  if (!trimmed) return;
  announced.value = [...announced.value.slice(1 - KEPT), { id: ++said, text: trimmed }];
  clearTimeout(clearing);
  clearing = setTimeout(() => (announced.value = []), 4000);
}
