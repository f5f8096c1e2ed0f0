// The conversations that this browser keeps.

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { list, open, readList, remove, rename, startNew, talk } from "../store/chat.ts";
import * as db from "../store/db.ts";
import { change } from "../store/settings.ts";
import { download, fileName, fromJson, toJson, toMarkdown } from "../store/transfer.ts";
import type { Conversation } from "../store/types.ts";
import { Tree } from "../core/tree.ts";
import { Confirm } from "./dialog.tsx";
import { Close, Logo, Plus, Search } from "./icons.tsx";
import { Menu } from "./menu.tsx";
import { drawer, narrow, notify } from "./state.ts";

export function focusSearch(): void {
  change({ list: true });
  if (narrow()) drawer.value = true;
  focusOn("#search");
}

export function Conversations() {
  const words = useSignal("");
  const found = useSignal<Map<string, string> | null>(null);
  const removing = useSignal<Conversation | null>(null);
  const naming = useSignal<string | null>(null);

  useEffect(() => {
    const wanted = words.value.trim();
    if (!wanted) {
      found.value = null;
      return;
    }
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      const hits = await db.search(wanted, stop.signal);
      if (!stop.signal.aborted) found.value = new Map(hits.map((hit) => [hit.conversation, hit.excerpt]));
    }, 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [words.value]);

  const wanted = words.value.trim().toLowerCase();
  const shown = list.value.filter(
    ({ id, title }) => !wanted || found.value?.has(id) || title.toLowerCase().includes(wanted),
  );
  const leave = () => {
    if (narrow()) drawer.value = false;
    else change({ list: false });
  };

  return (
    <nav class="list" aria-label="Conversations" id="list">
      <div class="list-head">
        <span class="brand">
          <Logo />
          <span>Cactus</span>
        </span>
        <button type="button" class="quiet" aria-label="Hide the list" onClick={leave}>
          <Close />
        </button>
      </div>
      <button
        type="button"
        class="new"
        onClick={() => {
          startNew();
          drawer.value = false;
          focusComposer();
        }}
      >
        <Plus /> New conversation
      </button>
      <label class="search">
        <Search />
        <span class="hidden">Search conversations</span>
        <input
          id="search"
          type="search"
          placeholder="Search"
          value={words.value}
          onInput={(event) => (words.value = event.currentTarget.value)}
        />
      </label>
      <ul class="conversations">
        {groups(shown).map(([name, some]) => (
          <li key={name}>
            <h2>{name}</h2>
            <ul>
              {some.map((one) => (
                <Row
                  key={one.id}
                  one={one}
                  excerpt={found.value?.get(one.id)}
                  naming={naming.value === one.id}
                  name={(on) => (naming.value = on ? one.id : null)}
                  remove={() => (removing.value = one)}
                />
              ))}
            </ul>
          </li>
        ))}
      </ul>
      {(shown.length === 0 || db.forgetful.value) && (
        <p class="none" role="status">
          {wanted ? `Nothing has “${words.value.trim()}” in it.`
          : db.forgetful.value || "What you write is kept in this browser only."}
        </p>
      )}
      {removing.value && (
        <Confirm
          title="Delete this conversation?"
          text={`“${removing.value.title}” is removed from this browser. It cannot be brought back.`}
          action="Delete"
          close={() => (removing.value = null)}
          sure={((id) => () => void remove(id))(removing.value.id)}
        />
      )}
    </nav>
  );
}

interface RowProps {
  one: Conversation;
  excerpt: string | undefined;
  naming: boolean;
  name: (on: boolean) => void;
  remove: () => void;
}

function Row({ one, excerpt, naming, name, remove }: RowProps) {
  const current = talk.value.id === one.id;
  if (naming) return <NameRow one={one} done={() => name(false)} />;
  return (
    <li class={current ? "row current" : "row"}>
      <a
        href={`#${one.id}`}
        aria-current={current ? "page" : undefined}
        onClick={(event) => {
          event.preventDefault();
          drawer.value = false;
          void open(one.id);
        }}
        onDblClick={() => name(true)}
      >
        <span class="title" dir="auto">{one.title}</span>
        {excerpt && <span class="excerpt" dir="auto">{excerpt}</span>}
      </a>
      <Menu
        name={`More for “${one.title}”`}
        items={[
          { name: "Rename", act: () => name(true) },
          { name: "Save as Markdown", act: () => void saveMarkdown(one) },
          { name: "Save as JSON", act: () => void saveJson([one.id], fileName(one.title)) },
          { name: "Delete", act: remove, danger: true },
        ]}
      />
    </li>
  );
}

function NameRow({ one, done }: { one: Conversation; done: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  const over = useRef(false);
  useLayoutEffect(() => input.current?.select(), []);
  const end = (keep: boolean) => {
    if (over.current) return;
    over.current = true;
    if (keep && input.current) void rename(one.id, input.current.value);
    done();
  };
  return (
    <li class="row">
      <input
        ref={input}
        class="rename"
        dir="auto"
        aria-label="Name of the conversation"
        defaultValue={one.title}
        maxLength={200}
        onBlur={() => end(true)}
        onKeyDown={(event) => {
          if (event.key === "Enter") end(true);
          if (event.key === "Escape") end(false);
          event.stopPropagation();
        }}
      />
    </li>
  );
}

/** By age: today, the week, and the months before. */
function groups(all: readonly Conversation[]): [string, Conversation[]][] {
  const today = new Date().setHours(0, 0, 0, 0);
  const month = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric" });
  const found = new Map<string, Conversation[]>();
  for (const one of all) {
    const name =
      one.updated >= today ? "Today"
      : one.updated >= today - 6 * 86_400_000 ? "This week"
      : month.format(one.updated);
    found.set(name, [...(found.get(name) ?? []), one]);
  }
  return [...found];
}

export function focusComposer(): void {
  focusOn("#write");
}

/** At once where it can be: the next key may come before the next frame. */
function focusOn(selector: string): void {
  const element = document.querySelector<HTMLElement>(selector);
  element?.focus();
  if (element && document.activeElement === element) return;
  requestAnimationFrame(() => document.querySelector<HTMLElement>(selector)?.focus());
}

async function saveMarkdown({ id }: Conversation): Promise<void> {
  const one = await db.conversation(id);
  if (!one) return;
  const path = new Tree(await db.messages(one.id)).path(one.chosen);
  download(`${fileName(one.title)}.md`, "text/markdown", toMarkdown(one.title, path));
}

export async function saveJson(ids: readonly string[], name: string): Promise<void> {
  download(`${name}.json`, "application/json", await toJson(ids));
}

export async function importFile(file: File): Promise<void> {
  try {
    const all = fromJson(await file.text());
    for (const { conversation, messages, pictures } of all) {
      await db.put(conversation.id, { conversations: [conversation], messages, pictures });
    }
    await readList();
    notify(all.length === 1 ? "One conversation was added." : `${all.length} conversations were added.`);
  } catch (error) {
    notify(`${file.name} was not read. ${(error as Error).message}`);
  }
}

