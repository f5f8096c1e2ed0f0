// What is kept in the browser.

import type { Citation } from "../core/citations.ts";
import type { Chosen } from "../core/tree.ts";
import type { FailureData } from "../server/failure.ts";
import type { Outcome, ToolUse } from "../server/types.ts";

/** How a conversation is to be answered. `null`: as the server does by itself. */
export interface Options {
  system: string;
  temperature: number | null;
  top_p: number | null;
  max_tokens: number | null;
  seed: number | null;
  thinking: boolean | null;
  documents: boolean;
  tools: boolean;
}

export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  model: string | null;
  chosen: Chosen;
  options: Options;
}

export interface PictureRef {
  id: string;
  name: string;
  type: string;
}

export interface Picture extends PictureRef {
  conversation: string;
  data: Blob;
}

/** How sure the model was of each token: where it ends in the text, and 0 to 1. */
export interface Confidences {
  ends: number[];
  values: number[];
}

export type MessageState = "streaming" | "done" | "length" | "stopped" | "failed";

export interface Message {
  id: string;
  conversation: string;
  parent: string | null;
  role: "user" | "assistant";
  text: string;
  created: number;
  state: MessageState;
  pictures?: PictureRef[];
  model?: string;
  reasoning?: string;
  thought_ms?: number;
  tools?: ToolUse[];
  citations?: Citation[];
  confidences?: Confidences;
  outcome?: Partial<Omit<Outcome, "citations">> & { completion_tokens?: number };
  failure?: FailureData;
  edited?: boolean;
}

export const DEFAULTS: Options = {
  system: "",
  temperature: null,
  top_p: null,
  max_tokens: null,
  seed: null,
  thinking: null,
  documents: false,
  tools: false,
};
