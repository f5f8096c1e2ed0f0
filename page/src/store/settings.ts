// What holds for every conversation, in localStorage.

import { effect, signal } from "@preact/signals";

import { local } from "../core/storage.ts";
import { DEFAULTS, type Options } from "./types.ts";

export type Theme = "auto" | "light" | "dark";

export interface Settings {
  theme: Theme;
  /** Enter sends; else Ctrl+Enter does, and Enter makes a new line. */
  enterSends: boolean;
  /** Shade the tokens that the model was unsure of. */
  confidences: boolean;
  /** Show the list of conversations. */
  list: boolean;
  model: string | null;
  /** What a new conversation begins with. */
  options: Options;
}

const KEY = "cactus-settings";

const START: Settings = {
  theme: "auto",
  enterSends: true,
  confidences: false,
  list: true,
  model: null,
  options: DEFAULTS,
};

export const settings = signal<Settings>(read());

export function change(part: Partial<Settings>): void {
  settings.value = { ...settings.value, ...part };
}

function read(): Settings {
  try {
    const kept = JSON.parse(local.getItem(KEY) ?? "{}") as Partial<Settings>;
    return { ...START, ...kept, options: { ...DEFAULTS, ...kept.options } };
  } catch {
    return START; // written by something else
  }
}

effect(() => {
  const { theme } = settings.value;
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  try {
    local.setItem(KEY, JSON.stringify(settings.value));
  } catch {
    // in storage that is full the settings last as long as the page
  }
});

// Another window has changed them.
addEventListener("storage", ({ key }) => {
  if (key === KEY) settings.value = read();
});
