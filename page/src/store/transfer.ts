// Conversations as files: JSON with everything in it, and Markdown to be read.

import { newId } from "../core/id.ts";
import { isTree } from "../core/tree.ts";
import { array, isRecord, maybe, number, record, shaped, string } from "./checks.ts";
import * as db from "./db.ts";
import { dataUrl, fromDataUrl } from "./pictures.ts";
import { DEFAULTS, type Conversation, type Message, type Options, type Picture } from "./types.ts";

const FORMAT = "cactus-conversations";
const VERSION = 1;

/** What a message may have, as far as the page takes it apart. */
const PARTS = {
  model: maybe(string),
  reasoning: maybe(string),
  tools: maybe([{ id: string, name: string, result: maybe(string) }]),
  citations: maybe([{ text_start: number, text_end: number, place: string, passage_id: string }]),
  confidences: maybe({ ends: [number], values: [number] }),
  outcome: maybe({}),
  failure: maybe({ title: string, detail: string }),
};

interface Kept {
  conversation: Conversation;
  messages: Message[];
  pictures: { id: string; name: string; data: string }[];
}

export async function toJson(ids: readonly string[]): Promise<string> {
  const all: Kept[] = [];
  for (const id of ids) {
    const conversation = await db.conversation(id);
    if (!conversation) continue;
    const messages = await db.messages(id);
    const pictures = [];
    for (const { id: picture, name, data } of await db.pictures(id)) {
      pictures.push({ id: picture, name, data: await dataUrl(data) });
    }
    all.push({ conversation, messages, pictures });
  }
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations: all }, null, 1) + "\n";
}

export interface Imported {
  conversation: Conversation;
  messages: Message[];
  pictures: Picture[];
}

/** What a file holds, with ids of its own, so that nothing that is there is overwritten. */
export function fromJson(text: string): Imported[] {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
  if (!isRecord(file) || file["format"] !== FORMAT) {
    throw new Error("The file holds no conversations of this page.");
  }
  if (file["version"] !== VERSION) {
    throw new Error(`The file has version ${String(file["version"])}; this page reads version ${VERSION}. Update Cactus where it is newer.`);
  }
  return array(file["conversations"], "conversations").map((one, i) => kept(one, `conversations[${i}]`));
}

function kept(value: unknown, where: string): Imported {
  const given = record(value, where);
  const head = record(given["conversation"], `${where}.conversation`);
  const id = newId();
  const ids = new Map<string, string>();
  const rename = (old: string) => {
    const known = ids.get(old) ?? newId();
    ids.set(old, known);
    return known;
  };
  const pictures = array(given["pictures"], `${where}.pictures`).map((one, i) => {
    const place = `${where}.pictures[${i}]`;
    const picture = record(one, place);
    let data: Blob;
    try {
      data = fromDataUrl(string(picture["data"], `${place}.data`));
    } catch (error) {
      throw new Error(`${place}.data: ${(error as Error).message}`);
    }
    const name = string(picture["name"], `${place}.name`);
    return { id: rename(string(picture["id"], `${place}.id`)), name, type: data.type, conversation: id, data };
  });
  const byId = new Map(pictures.map((one) => [one.id, one]));
  const messages = array(given["messages"], `${where}.messages`).map((one, i): Message => {
    const place = `${where}.messages[${i}]`;
    const data = record(one, place) as unknown as Message;
    if (data.role !== "user" && data.role !== "assistant") {
      throw new Error(`${place}.role: expected "user" or "assistant", got ${JSON.stringify(data.role)}.`);
    }
    string(data.text, `${place}.text`);
    number(data.created, `${place}.created`);
    shaped(data, PARTS, place);
    const refs = array(data.pictures ?? [], `${place}.pictures`).map((ref, j) => {
      const there = `${place}.pictures[${j}]`;
      const found = byId.get(rename(string(record(ref, there)["id"], `${there}.id`)));
      if (!found) throw new Error(`${there}: the file does not hold this picture.`);
      return { id: found.id, name: found.name, type: found.type };
    });
    return {
      ...data,
      id: rename(string(data.id, `${place}.id`)),
      conversation: id,
      parent: data.parent === null ? null : rename(string(data.parent, `${place}.parent`)),
      state: data.state === "streaming" ? "stopped" : data.state,
      ...(refs.length ? { pictures: refs } : { pictures: undefined }),
    };
  });
  if (!isTree(messages)) throw new Error(`${where}.messages: a message's parent is missing, or its own child.`);
  const chosen = Object.fromEntries(
    Object.entries(record(head["chosen"] ?? {}, `${where}.conversation.chosen`)).map(([parent, child]) => [
      parent === "" ? "" : rename(parent),
      rename(string(child, `${where}.conversation.chosen`)),
    ]),
  );
  const options = record(head["options"] ?? {}, `${where}.conversation.options`) as Partial<Options>;
  shaped(options, { system: maybe(string) }, `${where}.conversation.options`);
  const conversation: Conversation = {
    id,
    title: string(head["title"], `${where}.conversation.title`),
    created: number(head["created"], `${where}.conversation.created`),
    updated: number(head["updated"], `${where}.conversation.updated`),
    model: typeof head["model"] === "string" ? head["model"] : null,
    chosen,
    options: { ...DEFAULTS, ...options },
  };
  return { conversation, messages, pictures };
}

export function toMarkdown(title: string, path: readonly Message[]): string {
  const parts = [`# ${title || "Conversation"}`];
  for (const message of path) {
    parts.push(`## ${message.role === "user" ? "You" : (message.model ?? "Answer")}`);
    for (const picture of message.pictures ?? []) parts.push(`*Picture: ${picture.name}*`);
    parts.push(message.text.trim());
    for (const { place } of message.citations ?? []) parts.push(`- ${place}`);
  }
  return parts.filter(Boolean).join("\n\n") + "\n";
}

export function download(name: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function fileName(title: string): string {
  return title.replace(/[^\p{L}\p{N} _-]+/gu, "").replace(/\s+/g, " ").trim().slice(0, 60) || "conversation";
}
