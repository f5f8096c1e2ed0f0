// One answer: the request, and what its chunks change in the message.

import * as api from "../server/api.ts";
import { asFailure } from "../server/failure.ts";
import type { ChatBody, ChatMessage, Chunk, Content, ToolUse } from "../server/types.ts";
import { announce } from "./announce.ts";
import { dataUrl } from "./pictures.ts";
import * as db from "./db.ts";
import type { Entry } from "./entry.ts";
import { refresh, server } from "./server.ts";
import { settings } from "./settings.ts";
import type { Talk } from "./talk.ts";

const DRIFT = 16; // characters by which tokens and text may differ

export async function run(talk: Talk, entry: Entry, model: string): Promise<void> {
  const { data } = entry;
  const signal = talk.begin(entry);
  data.model = model;
  entry.show();
  try {
    const body = await request(talk, entry, model);
    signal.throwIfAborted();
    const writer = new Writer(entry);
    for await (const chunk of api.chat(body, signal)) {
      writer.take(chunk);
      entry.touch();
      talk.saveSometimes(entry);
    }
    data.state = writer.finish === "length" ? "length" : "done";
  } catch (error) {
    if (signal.aborted) {
      data.state = "stopped";
      announce("Stopped.");
    } else {
      data.state = "failed";
      data.failure = asFailure(error).data;
      announce(`${data.failure.title} ${data.failure.detail}`);
    }
  }
  for (const tool of data.tools ?? []) {
    if (tool.state === "running") tool.state = "failed";
  }
  talk.end();
  entry.show();
  if (talk.kept) void talk.save(entry);
  if (data.failure?.kind === "key") return; // that is asked for first
  if (data.failure || server.value?.models.some((one) => one.id === model && !one.loaded)) void refresh();
}

async function request(talk: Talk, entry: Entry, model: string): Promise<ChatBody> {
  const { options } = talk.conversation.value;
  const messages: ChatMessage[] = [];
  if (options.system.trim()) messages.push({ role: "system", content: options.system });
  for (const { data } of talk.line(entry.parent)) {
    const content: Content = [];
    for (const ref of data.pictures ?? []) {
      const picture = await db.picture(ref.id);
      if (!picture) throw new Error(`The picture ${ref.name} is no longer in this browser's storage.`);
      content.push({ type: "image_url", image_url: { url: await dataUrl(picture.data) } });
    }
    if (data.text && content.length) content.push({ type: "text", text: data.text });
    messages.push({ role: data.role, content: content.length ? content : data.text });
  }
  const { documents, tools } = server.value ?? { documents: null, tools: [] };
  return {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...(options.temperature === null ? {} : { temperature: options.temperature }),
    ...(options.top_p === null ? {} : { top_p: options.top_p }),
    ...(options.max_tokens === null ? {} : { max_completion_tokens: options.max_tokens }),
    ...(options.seed === null ? {} : { seed: options.seed }),
    cactus: {
      confidences: settings.value.confidences,
      documents: options.documents && documents !== null,
      tools: options.tools && tools.length > 0,
      thinking: options.thinking,
    },
  };
}

/** Puts chunks into a message. */
class Writer {
  finish: string | null = null;
  private readonly data;
  private thinkingSince = 0;
  /** Characters of the last tokens that were not found in the text. */
  private missed = 0;

  constructor(entry: Entry) {
    this.data = entry.data;
  }

  take(chunk: Chunk): void {
    const { data } = this;
    const choice = chunk.choices?.[0];
    const { reasoning_content: thought, content, refusal } = choice?.delta ?? {};
    if (thought) {
      this.thinkingSince ||= performance.now();
      data.reasoning = (data.reasoning ?? "") + thought;
      data.thought_ms = performance.now() - this.thinkingSince;
    }
    const said = (content ?? "") + (refusal ?? "");
    data.text += said;
    if (chunk.cactus?.confidences) this.confidences(chunk.cactus.confidences);
    if (chunk.cactus?.tool) this.tool(chunk.cactus.tool);
    if (chunk.usage) {
      data.outcome = { ...data.outcome, completion_tokens: chunk.usage.completion_tokens };
      data.outcome.prompt_tokens ??= chunk.usage.prompt_tokens;
    }
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    if (chunk.cactus && "context_length" in chunk.cactus) {
      const { confidences: _values, tool: _tool, citations, ...outcome } = chunk.cactus;
      data.outcome = { ...data.outcome, ...outcome };
      if (citations?.length) data.citations = citations;
    }
  }

  /** A token is told when all of it has come, which may be later than its beginning. */
  private confidences(pairs: readonly [string, number][]): void {
    const { text } = this.data;
    const all = (this.data.confidences ??= { ends: [], values: [] });
    for (const [token, value] of pairs) {
      const last = all.ends.length - 1;
      const at = all.ends[last] ?? 0;
      // Among its neighbours a token may be written otherwise than alone: then it ends where the next begins.
      const found = text.slice(at, at + this.missed + token.length + DRIFT).indexOf(token);
      this.missed = found < 0 ? this.missed + token.length : 0;
      if (found > 0 && last >= 0) all.ends[last] = at + found;
      all.ends.push(found < 0 ? at : at + found + token.length);
      all.values.push(Math.round(value * 1000) / 1000);
    }
  }

  private tool(use: ToolUse): void {
    const tools = (this.data.tools ??= []);
    const known = tools.findIndex(({ id }) => id === use.id);
    if (known < 0) {
      tools.push(use);
      announce(`Tool ${use.name}.`);
    } else {
      tools[known] = use;
    }
  }
}
