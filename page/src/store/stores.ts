// Where conversations, messages and pictures are kept: in IndexedDB, or in memory where a browser
// does not give the page any.

import { openDB, type DBSchema } from "idb";

import type { Conversation, Message, Picture } from "./types.ts";

export interface Kept {
  conversations: Conversation;
  messages: Message;
  pictures: Picture;
}

type Name = keyof Kept;
type Part = "messages" | "pictures";

export type Changes = { [N in Name]?: readonly Kept[N][] };

export interface Store {
  get<N extends Name>(name: N, id: string): Promise<Kept[N] | undefined>;
  /** All conversations, the one that was used last first. */
  conversations(): Promise<Conversation[]>;
  /** What belongs to a conversation. */
  of<N extends Part>(name: N, conversation: string): Promise<Kept[N][]>;
  /** All of it, or nothing. */
  put(changes: Changes): Promise<void>;
  /** Removes a conversation, or with `null` all of them. */
  remove(conversation: string | null): Promise<void>;
  /** Shows every message to `visit`, until that says false. */
  each(visit: (message: Message) => boolean): Promise<void>;
}

const NAMES = ["conversations", "messages", "pictures"] as const;
const PARTS = ["messages", "pictures"] as const;

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation; indexes: { updated: number } };
  messages: { key: string; value: Message; indexes: { conversation: string } };
  pictures: { key: string; value: Picture; indexes: { conversation: string } };
}

/** `ended` is called where the browser takes it away later. */
export async function onDisk(ended: () => void): Promise<Store> {
  const db = await openDB<Schema>("cactus", 1, {
    upgrade(made) {
      made.createObjectStore("conversations", { keyPath: "id" }).createIndex("updated", "updated");
      for (const name of PARTS) made.createObjectStore(name, { keyPath: "id" }).createIndex("conversation", "conversation");
    },
    terminated: ended,
  });
  return {
    get: <N extends Name>(name: N, id: string) => db.get(name, id) as Promise<Kept[N] | undefined>,
    conversations: async () => (await db.getAllFromIndex("conversations", "updated")).reverse(),
    of: <N extends Part>(name: N, conversation: string) =>
      db.getAllFromIndex(name as "messages", "conversation", conversation) as Promise<Kept[Part][]> as Promise<Kept[N][]>,
    async put(changes) {
      const change = db.transaction(NAMES, "readwrite");
      const puts = NAMES.flatMap((name) => (changes[name] ?? []).map((one) => change.objectStore(name).put(one)));
      await Promise.all([...puts, change.done]);
    },
    async remove(conversation) {
      const change = db.transaction(NAMES, "readwrite");
      if (conversation === null) {
        for (const name of NAMES) void change.objectStore(name).clear();
      } else {
        void change.objectStore("conversations").delete(conversation);
        for (const name of PARTS) {
          const store = change.objectStore(name);
          for (const id of await store.index("conversation").getAllKeys(conversation)) void store.delete(id);
        }
      }
      await change.done;
    },
    async each(visit) {
      let cursor = await db.transaction("messages").store.openCursor();
      while (cursor && visit(cursor.value)) cursor = await cursor.continue();
    },
  };
}

export function inMemory(): Store {
  const all = {
    conversations: new Map<string, Conversation>(),
    messages: new Map<string, Message>(),
    pictures: new Map<string, Picture>(),
  };
  const get = <N extends Name>(name: N, id: string) => (all[name] as Map<string, Kept[N]>).get(id);
  const keep = <N extends Name>(name: N, values: readonly Kept[N][] = []) => {
    // Copies, as on a disk: a message goes on changing while it is written.
    for (const one of values) (all[name] as Map<string, Kept[N]>).set(one.id, structuredClone(one));
  };
  return {
    get: async (name, id) => structuredClone(get(name, id)),
    conversations: async () => [...all.conversations.values()].sort((a, b) => b.updated - a.updated),
    of: async <N extends Part>(name: N, conversation: string) =>
      structuredClone([...(all[name] as Map<string, Kept[N]>).values()].filter((one) => one.conversation === conversation)),
    async put(changes) {
      for (const name of NAMES) keep(name, changes[name]);
    },
    async remove(conversation) {
      if (conversation === null) return NAMES.forEach((name) => all[name].clear());
      all.conversations.delete(conversation);
      for (const name of PARTS) {
        for (const one of all[name].values()) if (one.conversation === conversation) all[name].delete(one.id);
      }
    },
    async each(visit) {
      for (const message of all.messages.values()) if (!visit(message)) return;
    },
  };
}
