// The requests of the page. Addresses are relative to where the page lies.

import { events } from "../core/sse.ts";
import { session } from "../core/storage.ts";
import { asFailure, cut, Failure, fromResponse, fromStream, offline } from "./failure.ts";
import type { ChatBody, Chunk, PassageText, Status } from "./types.ts";

const KEY = "cactus-key";

export function key(): string | null {
  return session.getItem(KEY);
}

export function setKey(value: string): void {
  if (value) session.setItem(KEY, value);
  else session.removeItem(KEY);
}

export function address(path: string): URL {
  return new URL(path, document.baseURI);
}

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const secret = key();
  if (secret) headers.set("Authorization", `Bearer ${secret}`);
  let response: Response;
  try {
    response = await fetch(address(path), { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw offline();
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  throw fromResponse(response.status, body, response.headers.get("Retry-After"));
}

export async function status(): Promise<Status> {
  const said = (await (await request("cactus/status")).json()) as Status;
  // Without the right key the server says only that it needs one; here it says so.
  if (said.needs_key && said.models.length === 0) await request("v1/models");
  return said;
}

export async function passage(id: string): Promise<PassageText> {
  const path = `cactus/documents/${encodeURIComponent(id)}`;
  return (await (await request(path)).json()) as PassageText;
}

/** What is said in a recording. */
export async function transcribe(file: File, model: string): Promise<string> {
  const form = new FormData();
  form.set("file", file);
  form.set("model", model);
  form.set("response_format", "json");
  const response = await request("v1/audio/transcriptions", { method: "POST", body: form });
  return ((await response.json()) as { text: string }).text;
}

/** The chunks of an answer. Ends with the answer; throws a `Failure`, or what `signal` aborts with. */
export async function* chat(body: ChatBody, signal: AbortSignal): AsyncGenerator<Chunk> {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.body) throw cut();
  let ended = false;
  try {
    for await (const { data } of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw fromStream(chunk.error);
      if (chunk.choices?.[0]?.finish_reason) ended = true;
      yield chunk;
    }
  } catch (error) {
    if (signal.aborted || error instanceof Failure) throw error;
    throw error instanceof TypeError ? cut() : asFailure(error);
  }
  if (!ended) throw cut();
}
