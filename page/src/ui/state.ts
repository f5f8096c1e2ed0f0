// What is open on the page beside the conversation.

import { signal } from "@preact/signals";

import type { Source } from "../core/citations.ts";

export type Over = "settings" | "keys" | null;

export const over = signal<Over>(null);

/** The source that the panel at the side shows. */
export const source = signal<Source | null>(null);

/** On a phone the list covers the page while it is open. */
export const drawer = signal(false);

/** A short word on what was done, or why it was not. */
export const notice = signal<string | null>(null);

let timer: ReturnType<typeof setTimeout> | undefined;

export function notify(text: string): void {
  notice.value = text;
  clearTimeout(timer);
  timer = setTimeout(() => (notice.value = null), 8000);
}

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    notify("The browser does not let this page copy. Select the text and copy it by hand.");
    return false;
  }
}

export function narrow(): boolean {
  return matchMedia("(max-width: 760px)").matches;
}
