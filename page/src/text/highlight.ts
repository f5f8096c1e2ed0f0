// Colours of code, loaded with the first code that is seen.

import type { HLJSApi } from "highlight.js";

import { sanitize } from "./sanitize.ts";

const LONGEST = 100_000; // characters; longer code stays without colours

let loaded: Promise<HLJSApi> | null = null;

function load(): Promise<HLJSApi> {
  loaded ??= import("./languages.ts").then((module) => module.default);
  return loaded;
}

export async function colour(code: HTMLElement, language: string): Promise<void> {
  const text = code.textContent ?? "";
  if (!language || text.length > LONGEST) return;
  const hljs = await load();
  if (!hljs.getLanguage(language) || !code.isConnected) return;
  const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
  code.replaceChildren(sanitize(value));
}
