// What a person does with conversations: open, send, stop, ask again, edit.

import { batch, computed, signal } from "@preact/signals";

import { newId } from "../core/id.ts";
import type { Draft } from "./draft.ts";
import * as db from "./db.ts";
import type { Entry } from "./entry.ts";
import { run } from "./run.ts";
import { askKey, pickModel } from "./server.ts";
import { change, settings } from "./settings.ts";
import { Talk } from "./talk.ts";
import type { Conversation, Message, Options } from "./types.ts";
import { tell, type Change } from "./windows.ts";

export const list = signal<Conversation[]>([]);
export const talk = signal<Talk>(fresh());

/** Answers that are being written, by their conversation, which need not be the one that is shown. */
const busy = new Map<string, { talk: Talk; answer: Entry }>();

export const model = computed(() => pickModel(talk.value.conversation.value.model));

function fresh(): Talk {
  const now = Date.now();
  const { options, model } = settings.peek();
  const made: Conversation = {
    id: newId(),
    title: "",
    created: now,
    updated: now,
    model,
    chosen: {},
    options: { ...options },
  };
  return new Talk(made, [], false);
}

export async function readList(): Promise<void> {
  list.value = await db.conversations();
}

export function startNew(): void {
  if (talk.value.kept) talk.value = fresh();
  setAddress("");
}

export async function open(id: string): Promise<void> {
  if (talk.value.id === id) return;
  const running = busy.get(id);
  if (running) {
    talk.value = running.talk;
  } else {
    const conversation = await db.conversation(id);
    if (!conversation) return startNew();
    const messages = await db.messages(id);
    // The page was left while these came, or another window is writing them, and says so.
    const left = messages.filter(({ state }) => state === "streaming");
    for (const message of left) message.state = "stopped";
    talk.value = new Talk(conversation, messages, true);
    if (left.length > 0) tell({ conversation: id, asks: true });
  }
  setAddress(id);
}

function setAddress(id: string): void {
  const wanted = id ? `#${id}` : "";
  if (location.hash !== wanted) history.pushState(null, "", wanted || location.pathname);
}

export async function openAddress(): Promise<void> {
  const id = location.hash.slice(1);
  if (id) await open(id);
  else if (talk.value.kept) startNew();
}

/** Puts a conversation that changed to the top of the list. */
function used(one: Talk): void {
  one.change({ updated: Date.now() });
  const { value } = one.conversation;
  list.value = [value, ...list.value.filter(({ id }) => id !== value.id)];
}

/** Resolves when the question is in the conversation. */
export async function send(draft: Draft): Promise<void> {
  const here = talk.value;
  if (here.running.value) return;
  const last = here.path.value.at(-1);
  await ask(here, last?.id ?? null, draft);
}

/** The same place in the conversation with another question: a branch. */
export async function editQuestion(entry: Entry, draft: Draft): Promise<void> {
  await ask(talk.value, entry.parent, draft);
}

async function ask(here: Talk, parent: string | null, draft: Draft): Promise<void> {
  const text = draft.text.trim();
  await here.addPictures(draft.pictures);
  let answer!: Entry;
  batch(() => {
    if (!here.conversation.value.title) here.change({ title: titleOf(text || "Pictures") });
    const question = here.add({
      parent,
      role: "user",
      text,
      state: "done",
      ...(draft.pictures.length ? { pictures: draft.pictures.map(({ ref }) => ref) } : {}),
    });
    answer = here.add(blank(question.id));
    used(here);
    if (here === talk.value) setAddress(here.id);
  });
  void write(here, answer);
}

function blank(parent: string): Omit<Message, "id" | "conversation" | "created"> {
  return { parent, role: "assistant", text: "", state: "streaming" };
}

/** Another answer to the same question. */
export async function regenerate(entry: Entry): Promise<void> {
  const here = talk.value;
  if (here.running.value || entry.parent === null) return;
  const answer = here.add(blank(entry.parent));
  used(here);
  await write(here, answer);
}

/** Asks again where nothing came. */
export async function retry(entry: Entry): Promise<void> {
  const here = talk.value;
  if (entry.data.text || entry.data.reasoning) return regenerate(entry);
  await again(here, entry);
}

async function again(here: Talk, entry: Entry): Promise<void> {
  if (here.running.value) return;
  Object.assign(entry.data, { state: "streaming", failure: undefined, tools: undefined });
  await write(here, entry);
}

/** An answer as it should have been; the original stays as a branch. */
export function editAnswer(entry: Entry, text: string): void {
  const here = talk.value;
  const { parent, model } = entry.data;
  here.add({ parent, role: "assistant", text, state: "done", model, edited: true });
  used(here);
}

async function write(here: Talk, answer: Entry): Promise<void> {
  busy.set(here.id, { talk: here, answer });
  try {
    const id = pickModel(here.conversation.value.model)?.id ?? "";
    here.change({ model: id });
    await run(here, answer, id);
  } finally {
    busy.delete(here.id);
  }
  if (answer.data.failure?.kind === "key") askKey(() => void again(here, answer));
}

export function setModel(id: string): void {
  change({ model: id });
  talk.value.change({ model: id });
}

/** Options of this conversation, and of those that begin from now on. */
export function setOptions(part: Partial<Options>): void {
  const options = { ...talk.value.conversation.value.options, ...part };
  talk.value.change({ options });
  change({ options });
}

function inMemory(id: string): Talk | undefined {
  return talk.value.id === id ? talk.value : busy.get(id)?.talk;
}

export async function rename(id: string, title: string): Promise<void> {
  const shown = title.trim();
  if (!shown) return;
  const here = inMemory(id);
  const one = await db.conversation(id);
  if (here) here.change({ title: shown });
  else if (one) await db.put(id, { conversations: [{ ...one, title: shown }] });
  list.value = list.value.map((one) => (one.id === id ? { ...one, title: shown } : one));
}

/** Removes a conversation, or with `null` all of them. */
export async function remove(id: string | null): Promise<void> {
  forget(id);
  await db.remove(id);
}

function forget(id: string | null): void {
  const meant = (one: { id: string }) => id === null || one.id === id;
  for (const one of [talk.value, ...[...busy.values()].map(({ talk }) => talk)].filter(meant)) {
    one.stop();
    one.kept = false;
  }
  list.value = list.value.filter((one) => !meant(one));
  if (!meant(talk.value)) return;
  talk.value = fresh();
  setAddress("");
}

/** What another window has done. */
export async function takeOver({ conversation: id, gone, head, messages, asks }: Change): Promise<void> {
  if (gone) return forget(id);
  if (id === null) return;
  const running = busy.get(id);
  if (asks && running) await running.talk.save(running.answer);
  if (head) await readList();
  const here = inMemory(id);
  if (!here || !(head || messages)) return;
  const found = await Promise.all((messages ?? []).map(db.message));
  const conversation = await db.conversation(id);
  if (conversation) here.take(conversation, found.filter((one) => one !== undefined));
}

/** Answers that another window was writing when it was left. */
export function takeLeft(messages: readonly Message[]): void {
  for (const message of messages) {
    const here = inMemory(message.conversation);
    here?.take(here.conversation.value, [{ ...message, state: "stopped" }]);
  }
}

function titleOf(text: string): string {
  const line = text.trim().split("\n")[0]!.replace(/\s+/g, " ");
  if (line.length <= 60) return line;
  const cut = line.slice(0, 60);
  return cut.slice(0, Math.max(cut.lastIndexOf(" "), 40)).trimEnd() + "…";
}

addEventListener("pagehide", () => {
  db.leave([...busy.values()].filter(({ talk }) => talk.kept).map(({ answer }) => answer.data));
});
