// What the server says, as far as the page reads it.

import type { Citation } from "../core/citations.ts";

export type Ability = "chat" | "see" | "embed" | "rerank" | "transcribe" | "think" | "tools";

export interface ModelInfo {
  id: string;
  abilities: Ability[];
  context_length: number | null;
  loaded: boolean;
  default: boolean;
}

export interface Status {
  version: string;
  models: ModelInfo[];
  documents: { name: string; files: number; passages: number } | null;
  tools: { name: string; description: string }[];
  needs_key: boolean;
}

export type Content =
  | string
  | ({ type: "text"; text: string } | { type: "image_url"; image_url: { url: string } })[];

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: Content;
}

export interface ChatBody {
  model: string;
  messages: ChatMessage[];
  stream: true;
  stream_options: { include_usage: true };
  temperature?: number;
  top_p?: number;
  max_completion_tokens?: number;
  seed?: number;
  cactus: { confidences: boolean; documents: boolean; tools: boolean; thinking: boolean | null };
}

export interface ToolUse {
  id: string;
  name: string;
  arguments: Record<string, unknown>;
  state: "running" | "done" | "failed";
  result: string | null;
}

/** What the last chunk says about the answer. */
export interface Outcome {
  confidence: number | null;
  prompt_tokens: number;
  cached_tokens: number;
  context_length: number | null;
  decode_tps: number | null;
  time_to_first_token_ms: number | null;
  citations: Citation[];
  reading: string | null;
}

export interface Chunk {
  error?: ServerError;
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null; refusal?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  cactus?: { confidences?: [string, number][]; tool?: ToolUse } & Partial<Outcome>;
}

export interface ServerError {
  message: string;
  param?: string | null;
}

export interface PassageText {
  text: string;
  before: string;
  after: string;
}
