// What a person wrote.

import { useState } from "preact/hooks";

import { newId } from "../core/id.ts";
import { editQuestion } from "../store/chat.ts";
import * as db from "../store/db.ts";
import type { DraftPicture } from "../store/draft.ts";
import type { Entry } from "../store/entry.ts";
import type { PictureRef } from "../store/types.ts";
import { CopyButton, EditButton } from "./actions.tsx";
import { Branches } from "./branches.tsx";
import { Editor } from "./editor.tsx";
import { Thumb } from "./thumb.tsx";

interface Props {
  entry: Entry;
  editing: boolean;
  edit: (on: boolean) => void;
  busy: boolean;
}

export function Question({ entry, editing, edit, busy }: Props) {
  const { text, pictures } = entry.data;
  if (editing) return <QuestionEditor entry={entry} done={() => edit(false)} />;
  return (
    <>
      {pictures && <Pictures all={pictures} />}
      {text && <div class="asked" dir="auto">{text}</div>}
      <div class="tools" role="group" aria-label="What to do with the question">
        <Branches entry={entry} />
        <CopyButton text={text} />
        <EditButton disabled={busy} act={() => edit(true)} />
      </div>
    </>
  );
}

function Pictures({ all, remove }: { all: readonly PictureRef[]; remove?: (id: string) => void }) {
  if (all.length === 0) return null;
  return (
    <div class="pictures">
      {all.map(({ id, name }) => (
        <Thumb
          key={id}
          name={name}
          data={async () => (await db.picture(id))?.data}
          remove={remove && (() => remove(id))}
        />
      ))}
    </div>
  );
}

function QuestionEditor({ entry, done }: { entry: Entry; done: () => void }) {
  const [text, setText] = useState(entry.data.text);
  const [kept, setKept] = useState(entry.data.pictures ?? []);
  const send = async () => {
    const pictures: DraftPicture[] = [];
    for (const ref of kept) {
      const found = await db.picture(ref.id);
      // A copy, for each message owns its pictures.
      if (found) pictures.push({ ref: { ...ref, id: newId() }, data: found.data });
    }
    await editQuestion(entry, { text, pictures });
    done();
  };
  return (
    <Editor
      name="Question"
      text={text}
      write={setText}
      hint="The old question stays as a branch."
      action="Ask again"
      can={text.trim() !== "" || kept.length > 0}
      act={() => void send()}
      cancel={done}
    >
      <Pictures all={kept} remove={(id) => setKept(kept.filter((one) => one.id !== id))} />
    </Editor>
  );
}
