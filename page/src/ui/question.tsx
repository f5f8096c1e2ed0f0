// What a person wrote.

import { newId } from "../core/id.ts";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { editQuestion } from "../store/chat.ts";
import * as db from "../store/db.ts";
import type { DraftPicture } from "../store/draft.ts";
import type { Entry } from "../store/entry.ts";
import type { PictureRef } from "../store/types.ts";
import { Branches } from "./branches.tsx";
import { CopyButton } from "./copy.tsx";
import { Edit } from "./icons.tsx";
import { fit } from "./fit.ts";
import { Thumb } from "./thumb.tsx";

interface Props {
  entry: Entry;
  editing: boolean;
  edit: (on: boolean) => void;
  busy: boolean;
}

export function Question({ entry, editing, edit, busy }: Props) {
  const { text, pictures } = entry.data;
  if (editing) return <Editor entry={entry} done={() => edit(false)} />;
  return (
    <>
      {pictures && <Pictures all={pictures} />}
      {text && <div class="asked">{text}</div>}
      <div class="tools" role="group" aria-label="What to do with the question">
        <Branches entry={entry} />
        <CopyButton text={() => text} />
        <button
          type="button"
          class="quiet small"
          disabled={busy}
          aria-label="Edit"
          title="Edit (E)"
          onClick={() => edit(true)}
        >
          <Edit />
        </button>
      </div>
    </>
  );
}

function Pictures({ all }: { all: readonly PictureRef[] }) {
  return (
    <div class="pictures">
      {all.map(({ id, name }) => (
        <Thumb key={id} name={name} data={async () => (await db.picture(id))?.data} />
      ))}
    </div>
  );
}

function Editor({ entry, done }: { entry: Entry; done: () => void }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(entry.data.text);
  const [kept, setKept] = useState(entry.data.pictures ?? []);
  useLayoutEffect(() => {
    area.current?.focus();
    fit(area.current);
  }, []);
  const can = text.trim() !== "" || kept.length > 0;
  const send = async () => {
    if (!can) return;
    const pictures: DraftPicture[] = [];
    for (const ref of kept) {
      const found = await db.picture(ref.id);
      // A copy, for each message owns its pictures.
      if (found) pictures.push({ ref: { ...ref, id: newId() }, data: found.data });
    }
    done();
    await editQuestion(entry, { text, pictures });
  };
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {kept.length > 0 && (
        <div class="pictures">
          {kept.map(({ id, name }) => (
            <Thumb
              key={id}
              name={name}
              data={async () => (await db.picture(id))?.data}
              remove={() => setKept(kept.filter((one) => one.id !== id))}
            />
          ))}
        </div>
      )}
      <textarea
        ref={area}
        aria-label="Question"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          fit(event.currentTarget);
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") done();
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void send();
          event.stopPropagation();
        }}
      />
      <div class="actions">
        <span class="hint">The old question stays as a branch.</span>
        <button type="button" class="plain" onClick={done}>
          Cancel
        </button>
        <button type="submit" class="strong" disabled={!can}>
          Ask again
        </button>
      </div>
    </form>
  );
}
