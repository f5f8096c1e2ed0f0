// What a model answered: its reasoning, its tools, the text, where it is from, what it took.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import { sources, type Citation } from "../core/citations.ts";
import { unsureTokens } from "../core/unsure.ts";
import { announce } from "../store/announce.ts";
import { editAnswer, regenerate, retry } from "../store/chat.ts";
import type { Entry } from "../store/entry.ts";
import { askKey } from "../store/server.ts";
import { settings } from "../store/settings.ts";
import { AnswerView } from "../text/render.ts";
import { Action, CopyButton, EditButton } from "./actions.tsx";
import { Branches } from "./branches.tsx";
import { Editor } from "./editor.tsx";
import { Again, Warning } from "./icons.tsx";
import { Outcome } from "./outcome.tsx";
import { copy, source } from "./state.ts";
import { Reasoning, ToolUses } from "./work.tsx";

const NONE: readonly Citation[] = [];

interface Props {
  entry: Entry;
  editing: boolean;
  edit: (on: boolean) => void;
  busy: boolean;
}

export function Answer({ entry, editing, edit, busy }: Props) {
  const { data } = entry.shown.value;
  const running = data.state === "streaming";
  if (editing) return <AnswerEditor entry={entry} done={() => edit(false)} />;
  return (
    <>
      {data.reasoning && (
        <Reasoning text={data.reasoning} ms={data.thought_ms ?? 0} thinking={running && !data.text} />
      )}
      {data.tools && <ToolUses all={data.tools} />}
      {running && !data.text && !data.reasoning && <Waiting />}
      <Prose entry={entry} />
      {data.citations && <Sources all={data.citations} />}
      {data.state === "length" && (
        <p class="remark">The answer ends here because it reached its limit of tokens, or the context is full.</p>
      )}
      {data.state === "stopped" && <p class="remark">Stopped.</p>}
      {data.state === "failed" && <Failed entry={entry} busy={busy} />}
      {!running && (
        <div class="tools" role="group" aria-label="What to do with the answer">
          <Branches entry={entry} />
          <Outcome data={data} />
          {data.text && <CopyButton text={data.text} />}
          <Action name="Answer again" letter="R" disabled={busy} act={() => void regenerate(entry)}>
            <Again />
          </Action>
          <EditButton disabled={busy} act={() => edit(true)} />
        </div>
      )}
    </>
  );
}

function Waiting() {
  return (
    <p class="waiting">
      <span class="hidden">The answer is on its way.</span>
      <span aria-hidden="true" class="dots">
        <i />
        <i />
        <i />
      </span>
    </p>
  );
}

function Prose({ entry }: { entry: Entry }) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<AnswerView | null>(null);
  const { data } = entry.shown.value;
  const ended = data.state !== "streaming";
  const citations = data.citations ?? NONE;
  const shading = settings.value.confidences && data.confidences !== undefined;
  const unsure = useMemo(() => {
    if (!shading) return null;
    return (start: number, end: number) => {
      const { ends, values } = data.confidences!;
      return unsureTokens(ends, values, start, end);
    };
  }, [shading, data]);

  useLayoutEffect(() => {
    view.current ??= new AnswerView(host.current!, announce);
    view.current.show({ text: data.text, ended, citations, unsure });
  });
  useEffect(() => () => view.current?.clear(), []);

  const press = async (event: MouseEvent) => {
    const button = (event.target as Element).closest("button");
    if (button?.classList.contains("copy")) {
      const code = button.closest("figure")?.querySelector("pre")?.textContent ?? "";
      if (!(await copy(code))) return;
      button.textContent = "Copied";
      announce("Copied.");
      setTimeout(() => (button.textContent = "Copy"), 1500);
    } else if (button?.classList.contains("cite")) {
      const number = Number(button.dataset["cite"]);
      source.value = sources(citations).find((one) => one.number === number) ?? null;
    }
  };
  return <div class="prose" ref={host} onClick={press} aria-busy={!ended} />;
}

function Sources({ all }: { all: readonly Citation[] }) {
  return (
    <div class="sources" role="group" aria-label="Sources">
      <ol>
        {sources(all).map((one) => (
          <li key={one.passage_id}>
            <button type="button" class="source" onClick={() => (source.value = one)}>
              <span class="number">{one.number}</span> {one.place}
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}

function Failed({ entry, busy }: { entry: Entry; busy: boolean }) {
  const { failure } = entry.data;
  if (!failure) return null;
  const key = failure.kind === "key";
  return (
    <div class="failure" role="group" aria-label="What went wrong">
      <Warning />
      <div>
        <p class="title">{failure.title}</p>
        {failure.detail && <p>{failure.detail}</p>}
        {failure.wait !== null && <p>It should be free in about {failure.wait} s.</p>}
        <button
          type="button"
          class="plain"
          disabled={busy}
          onClick={() => (key ? askKey(() => void retry(entry)) : void retry(entry))}
        >
          {key ? "Give the key" : "Try again"}
        </button>
      </div>
    </div>
  );
}

function AnswerEditor({ entry, done }: { entry: Entry; done: () => void }) {
  const [text, setText] = useState(entry.data.text);
  const keep = () => {
    done();
    if (text !== entry.data.text) editAnswer(entry, text);
  };
  return (
    <Editor
      name="Answer"
      text={text}
      write={setText}
      hint="The model's own answer stays as a branch."
      action="Keep"
      act={keep}
      cancel={done}
    />
  );
}
