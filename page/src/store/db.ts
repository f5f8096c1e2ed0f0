// Conversations, messages and pictures in IndexedDB.

import { openDB, type DBSchema, type IDBPDatabase } from "idb";

import type { Conversation, Message, Picture } from "./types.ts";

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation; indexes: { updated: number } };
  messages: { key: string; value: Message; indexes: { conversation: string } };
  pictures: { key: string; value: Picture; indexes: { conversation: string } };
}

let opened: Promise<IDBPDatabase<Schema>> | null = null;

function db(): Promise<IDBPDatabase<Schema>> {
  opened ??= openDB<Schema>("cactus", 1, {
    upgrade(made) {
      made.createObjectStore("conversations", { keyPath: "id" }).createIndex("updated", "updated");
      made.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
      made.createObjectStore("pictures", { keyPath: "id" }).createIndex("conversation", "conversation");
    },
    terminated() {
      opened = null;
    },
  });
  return opened;
}

/** All conversations, the one that was used last first. */
export async function conversations(): Promise<Conversation[]> {
  return (await (await db()).getAllFromIndex("conversations", "updated")).reverse();
}

export async function conversation(id: string): Promise<Conversation | undefined> {
  return (await db()).get("conversations", id);
}

export async function messages(conversation: string): Promise<Message[]> {
  return (await db()).getAllFromIndex("messages", "conversation", conversation);
}

export async function pictures(conversation: string): Promise<Picture[]> {
  return (await db()).getAllFromIndex("pictures", "conversation", conversation);
}

export async function picture(id: string): Promise<Picture | undefined> {
  return (await db()).get("pictures", id);
}

export async function putConversation(conversation: Conversation): Promise<void> {
  await (await db()).put("conversations", conversation);
}

export async function putMessage(message: Message): Promise<void> {
  await (await db()).put("messages", message);
}

const LEFT = "cactus-left";

/** Messages of a page that is being left: what is waited for is not done any more then. */
export function leave(messages: readonly Message[]): void {
  if (messages.length > 0) localStorage.setItem(LEFT, JSON.stringify(messages));
}

/** Puts to the others what a page that was left has kept. */
export async function takeUp(): Promise<void> {
  const kept = localStorage.getItem(LEFT);
  if (kept === null) return;
  for (const message of JSON.parse(kept) as Message[]) await putMessage(message);
  localStorage.removeItem(LEFT);
}

export async function putPicture(one: Picture): Promise<void> {
  await (await db()).put("pictures", one);
}

/** A whole conversation at once, or nothing of it. */
export async function putAll(
  conversation: Conversation,
  all: readonly Message[],
  images: readonly Picture[],
): Promise<void> {
  const change = (await db()).transaction(["conversations", "messages", "pictures"], "readwrite");
  void change.objectStore("conversations").put(conversation);
  for (const one of all) void change.objectStore("messages").put(one);
  for (const one of images) void change.objectStore("pictures").put(one);
  await change.done;
}

export async function remove(conversation: string): Promise<void> {
  const change = (await db()).transaction(["conversations", "messages", "pictures"], "readwrite");
  void change.objectStore("conversations").delete(conversation);
  for (const name of ["messages", "pictures"] as const) {
    const store = change.objectStore(name);
    for (const id of await store.index("conversation").getAllKeys(conversation)) void store.delete(id);
  }
  await change.done;
}

export async function removeAll(): Promise<void> {
  const change = (await db()).transaction(["conversations", "messages", "pictures"], "readwrite");
  for (const name of ["conversations", "messages", "pictures"] as const) {
    void change.objectStore(name).clear();
  }
  await change.done;
}

export interface Found {
  conversation: string;
  excerpt: string;
}

/** The first message of each conversation that contains `words`, in any order, in upper or lower case. */
export async function search(words: string, signal: AbortSignal): Promise<Found[]> {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Map<string, string>();
  let cursor = await (await db()).transaction("messages").store.openCursor();
  while (cursor && !signal.aborted) {
    const { conversation, text } = cursor.value;
    const lower = text.toLowerCase();
    if (!found.has(conversation) && wanted.every((word) => lower.includes(word))) {
      found.set(conversation, excerpt(text, lower.indexOf(wanted[0] ?? "")));
    }
    cursor = await cursor.continue();
  }
  return [...found].map(([conversation, excerpt]) => ({ conversation, excerpt }));
}

function excerpt(text: string, at: number): string {
  const start = Math.max(0, at - 30);
  const part = text.slice(start, at + 60).replace(/\s+/g, " ").trim();
  return (start > 0 ? "…" : "") + part + (at + 60 < text.length ? "…" : "");
}
