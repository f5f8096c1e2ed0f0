// What the browser keeps: conversations, messages, pictures.

import { signal } from "@preact/signals";

import { local } from "../core/storage.ts";
import { inMemory, onDisk, type Changes, type Store } from "./stores.ts";
import type { Conversation, Message, Picture } from "./types.ts";
import { tell } from "./windows.ts";

const FORGETFUL =
  "This browser does not let the page keep conversations: they last until this window is closed or loaded again.";
const NEWER =
  "A newer version of this page has kept conversations in this browser. Update Cactus to see them. Until then, what you " +
  "write lasts until this window is closed or loaded again.";

/** Why the browser keeps nothing, so that all lasts as long as the page; nothing where it keeps it. */
export const forgetful = signal("");

let opened: Promise<Store> | null = null;

function db(): Promise<Store> {
  opened ??= onDisk(() => (opened = null)).catch((error: unknown) => {
    forgetful.value = error instanceof DOMException && error.name === "VersionError" ? NEWER : FORGETFUL;
    return inMemory();
  });
  return opened;
}

/** All conversations, the one that was used last first. */
export async function conversations(): Promise<Conversation[]> {
  return (await db()).conversations();
}

export async function conversation(id: string): Promise<Conversation | undefined> {
  return (await db()).get("conversations", id);
}

export async function messages(conversation: string): Promise<Message[]> {
  return (await db()).of("messages", conversation);
}

export async function message(id: string): Promise<Message | undefined> {
  return (await db()).get("messages", id);
}

export async function pictures(conversation: string): Promise<Picture[]> {
  return (await db()).of("pictures", conversation);
}

export async function picture(id: string): Promise<Picture | undefined> {
  return (await db()).get("pictures", id);
}

/** Parts of one conversation, all or nothing of them. */
export async function put(conversation: string, changes: Changes): Promise<void> {
  await (await db()).put(changes);
  const ids = changes.messages?.map(({ id }) => id);
  tell({ conversation, head: changes.conversations !== undefined, messages: ids });
}

/** Removes a conversation, or with `null` all of them. */
export async function remove(conversation: string | null): Promise<void> {
  await (await db()).remove(conversation);
  tell({ conversation, gone: true });
}

const LEFT = "cactus-left";

/** Messages of a page that is being left: what is waited for is not done any more then. */
export function leave(messages: readonly Message[]): void {
  if (messages.length > 0) local.setItem(LEFT, JSON.stringify(messages));
}

/** Puts to the others what a page that was left has kept. */
export async function takeUp(): Promise<void> {
  const kept = local.getItem(LEFT);
  if (kept === null) return;
  for (const message of JSON.parse(kept) as Message[]) await put(message.conversation, { messages: [message] });
  local.removeItem(LEFT);
}

/** `then` gets the messages that another window was writing when it was left. */
export function whenLeft(then: (messages: Message[]) => void): void {
  addEventListener("storage", ({ key, newValue }) => {
    if (key === LEFT && newValue !== null) then(JSON.parse(newValue) as Message[]);
  });
}

export interface Found {
  conversation: string;
  excerpt: string;
}

/** The first message of each conversation that contains `words`, in any order, in upper or lower case. */
export async function search(words: string, signal: AbortSignal): Promise<Found[]> {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Map<string, string>();
  await (await db()).each(({ conversation, text }) => {
    const lower = text.toLowerCase();
    if (!found.has(conversation) && wanted.every((word) => lower.includes(word))) {
      found.set(conversation, excerpt(text, lower.indexOf(wanted[0] ?? "")));
    }
    return !signal.aborted;
  });
  return [...found].map(([conversation, excerpt]) => ({ conversation, excerpt }));
}

function excerpt(text: string, at: number): string {
  const start = Math.max(0, at - 30);
  const part = text.slice(start, at + 60).replace(/\s+/g, " ").trim();
  return (start > 0 ? "…" : "") + part + (at + 60 < text.length ? "…" : "");
}
