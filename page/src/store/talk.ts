// One conversation that is open: its tree of messages, and the answer that is being written.

import { batch, computed, signal, type Signal } from "@preact/signals";

import { newId } from "../core/id.ts";
import { Tree, type Chosen } from "../core/tree.ts";
import * as db from "./db.ts";
import { Entry } from "./entry.ts";
import type { Conversation, Message, Picture, PictureRef } from "./types.ts";

const SAVE_EVERY = 1500; // milliseconds between two writes of an answer that comes

export class Talk {
  readonly conversation: Signal<Conversation>;
  readonly running = signal<Entry | null>(null);
  private readonly tree: Tree<Entry>;
  /** The tree, as components read it: a new value after each change. */
  readonly family: Signal<Family>;
  private controller: AbortController | null = null;
  private saved = 0;
  /** Whether it is in the browser's storage: not before its first message. */
  kept: boolean;

  constructor(conversation: Conversation, messages: readonly Message[], kept: boolean) {
    this.conversation = signal(conversation);
    this.tree = new Tree(messages.map((data) => new Entry(data)));
    this.family = signal(view(this.tree));
    this.kept = kept;
  }

  get id(): string {
    return this.conversation.value.id;
  }

  /** The messages that are shown. */
  readonly path = computed(() => {
    return this.family.value.path(this.conversation.value.chosen);
  });

  /** Takes over what another window has written. */
  take(conversation: Conversation, messages: readonly Message[]): void {
    for (const message of messages) {
      const known = this.tree.get(message.id);
      if (!known) this.tree.add(new Entry(message));
      else if (known !== this.running.value) known.become(message);
    }
    batch(() => {
      this.conversation.value = conversation;
      this.family.value = view(this.tree);
    });
  }

  line(id: string | null): Entry[] {
    return this.tree.line(id);
  }

  choose(id: string): void {
    const { value } = this.conversation;
    this.change({ chosen: this.tree.choose(value.chosen, id) });
  }

  /** A new message below `parent`, shown from now on. */
  add(part: Omit<Message, "id" | "conversation" | "created">): Entry {
    const data: Message = {
      ...part,
      id: newId(),
      conversation: this.id,
      created: Math.max(Date.now(), ...this.tree.children(part.parent).map((one) => one.created + 1)),
    };
    const entry = new Entry(data);
    this.tree.add(entry);
    this.family.value = view(this.tree);
    this.choose(entry.id);
    this.kept = true;
    void this.save(entry);
    return entry;
  }

  change(part: Partial<Conversation>): void {
    this.conversation.value = { ...this.conversation.value, ...part };
    const { value } = this.conversation;
    if (this.kept) void db.put(this.id, { conversations: [value] });
  }

  async addPictures(pictures: readonly { ref: PictureRef; data: Blob }[]): Promise<void> {
    if (pictures.length === 0) return;
    const all = pictures.map(({ ref, data }): Picture => ({ ...ref, conversation: this.id, data }));
    await db.put(this.id, { pictures: all });
  }

  begin(entry: Entry): AbortSignal {
    this.controller = new AbortController();
    this.running.value = entry;
    this.saved = performance.now();
    return this.controller.signal;
  }

  end(): void {
    this.controller = null;
    this.running.value = null;
  }

  stop(): void {
    this.controller?.abort();
  }

  async save(entry: Entry): Promise<void> {
    this.saved = performance.now();
    await db.put(this.id, { messages: [entry.data] });
  }

  /** Writes an answer that is coming, now and then. */
  saveSometimes(entry: Entry): void {
    if (performance.now() - this.saved > SAVE_EVERY) void this.save(entry);
  }
}

/** What a component reads of a tree, to be told of its changes. */
interface Family {
  siblings: (id: string) => readonly Entry[];
  path: (chosen: Chosen) => Entry[];
}

function view(tree: Tree<Entry>): Family {
  return { siblings: (id) => tree.siblings(id), path: (chosen) => tree.path(chosen) };
}
