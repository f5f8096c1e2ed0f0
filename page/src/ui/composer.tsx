// Where one writes: text, pictures, speech, and what the answer may use.

import { signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { direction } from "../core/direction.ts";
import { announce } from "../store/announce.ts";
import { model, send, setOptions, talk } from "../store/chat.ts";
import { EMPTY, type Draft } from "../store/draft.ts";
import { preparePicture } from "../store/pictures.ts";
import { hearing, server } from "../store/server.ts";
import { settings } from "../store/settings.ts";
import { transcribe } from "../server/api.ts";
import { asFailure } from "../server/failure.ts";
import type { Dictation } from "../speech/dictation.ts";
import { fit } from "./fit.ts";
import { Book, Microphone, Picture, Stop, Thought, Tool, Up } from "./icons.tsx";
import { notify } from "./state.ts";
import { Thumb } from "./thumb.tsx";

const drafts = new Map<string, Draft>();
const draft = signal<Draft>(EMPTY);

/** Files that were chosen, dropped or pasted: pictures are attached, recordings transcribed. */
export async function addFiles(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    if (file.type.startsWith("audio/") || file.type.startsWith("video/")) {
      await addRecording(file);
      continue;
    }
    if (!file.type.startsWith("image/")) {
      notify(`${file.name} was not added: only pictures and recordings can be.`);
      continue;
    }
    if (model.value && !model.value.abilities.includes("see")) {
      notify(`${model.value.id} does not see pictures. Choose a model that does.`);
      return;
    }
    try {
      const picture = await preparePicture(file);
      draft.value = { ...draft.value, pictures: [...draft.value.pictures, picture] };
      announce(`${picture.ref.name} was added.`);
    } catch (error) {
      notify((error as Error).message);
    }
  }
}

async function addRecording(file: File): Promise<void> {
  const listener = hearing();
  if (!listener) return notify(`${file.name} was not added: the server has no model that transcribes.`);
  notify(`${file.name} is transcribed.`);
  try {
    const said = (await transcribe(file, listener.id)).trim();
    const { text } = draft.value;
    draft.value = { ...draft.value, text: text ? `${text}\n${said}` : said };
  } catch (error) {
    const { title, detail } = asFailure(error).data;
    notify(`${file.name} was not transcribed. ${title} ${detail}`);
  }
}

export function Composer() {
  const area = useRef<HTMLTextAreaElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const here = talk.value;
  const running = here.running.value !== null;
  const options = here.conversation.value.options;
  const { text, pictures } = draft.value;
  const one = model.value;
  const can = !running && one !== undefined && (text.trim() !== "" || pictures.length > 0);

  // Each conversation keeps what was begun in it.
  useEffect(() => {
    draft.value = drafts.get(here.id) ?? EMPTY;
    return () => void drafts.set(here.id, draft.value);
  }, [here.id]);
  useEffect(() => fit(area.current), [text]);

  const submit = async () => {
    if (!can) return;
    const sent = draft.value;
    draft.value = EMPTY;
    area.current?.focus();
    try {
      await send(sent);
    } catch (error) {
      // Its pictures could not be kept. Nothing is lost while nothing else has been written.
      if (draft.value === EMPTY && talk.value === here) draft.value = sent;
      throw error;
    }
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.isComposing) {
      const strong = event.ctrlKey || event.metaKey;
      if (strong || (settings.value.enterSends && !event.shiftKey)) {
        event.preventDefault();
        void submit();
      }
    } else if (event.key === "ArrowUp" && !event.altKey && text === "" && !running) {
      const asked = here.path.value.filter(({ data }) => data.role === "user").at(-1);
      if (!asked) return;
      event.preventDefault();
      const message = document.getElementById(asked.id);
      message?.focus();
      message?.scrollIntoView({ block: "nearest" });
    }
  };
  const paste = (event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    void addFiles(files);
  };

  return (
    <form
      class="composer"
      aria-label="Write"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {pictures.length > 0 && (
        <div class="pictures">
          {pictures.map(({ ref, data }) => (
            <Thumb
              key={ref.id}
              name={ref.name}
              data={async () => data}
              remove={() =>
                (draft.value = { ...draft.value, pictures: pictures.filter((other) => other.ref.id !== ref.id) })
              }
            />
          ))}
        </div>
      )}
      <textarea
        ref={area}
        id="write"
        dir={direction(text)}
        rows={1}
        aria-label="Message"
        placeholder={one ? `Write to ${one.id.split("/").at(-1)}` : "Write"}
        value={text}
        enterkeyhint={settings.value.enterSends ? "send" : "enter"}
        onInput={(event) => (draft.value = { ...draft.value, text: event.currentTarget.value })}
        onKeyDown={press}
        onPaste={paste}
      />
      <div class="bar">
        <input
          ref={chooser}
          type="file"
          accept="image/*,audio/*"
          multiple
          hidden
          onChange={(event) => {
            void addFiles([...(event.currentTarget.files ?? [])]);
            event.currentTarget.value = "";
          }}
        />
        <button
          type="button"
          class="quiet"
          aria-label="Add a picture or a recording"
          title="Add a picture or a recording"
          onClick={() => chooser.current?.click()}
        >
          <Picture />
        </button>
        {hearing() && <Dictate />}
        {server.value?.documents && (
          <Toggle
            name="Documents"
            title={`Answer from ${server.value.documents.name}`}
            on={options.documents}
            set={(documents) => setOptions({ documents, tools: options.tools && !documents })}
          >
            <Book />
          </Toggle>
        )}
        {(server.value?.tools.length ?? 0) > 0 && (
          <Toggle
            name="Tools"
            title={`May use ${server.value!.tools.map((tool) => tool.name).join(", ")}`}
            on={options.tools}
            set={(tools) => setOptions({ tools, documents: options.documents && !tools })}
          >
            <Tool />
          </Toggle>
        )}
        {one?.abilities.includes("think") && (
          <Toggle
            name="Think"
            title="Think before answering"
            on={options.thinking !== false}
            set={(on) => setOptions({ thinking: on })}
          >
            <Thought />
          </Toggle>
        )}
        <span class="space" />
        {running ? (
          <button type="button" class="go" aria-label="Stop" title="Stop (Escape)" onClick={() => here.stop()}>
            <Stop />
          </button>
        ) : (
          <button type="submit" class="go" aria-label="Send" title="Send" disabled={!can}>
            <Up />
          </button>
        )}
      </div>
    </form>
  );
}

interface ToggleProps {
  name: string;
  title: string;
  on: boolean;
  set: (on: boolean) => void;
  children: ComponentChildren;
}

function Toggle({ name, title, on, set, children }: ToggleProps) {
  return (
    <button type="button" class="toggle" aria-pressed={on} title={title} onClick={() => set(!on)}>
      {children}
      <span>{name}</span>
    </button>
  );
}

/** The microphone. What is understood stands in the text while one speaks. */
function Dictate() {
  const running = useSignal<Dictation | "starting" | null>(null);
  const level = useSignal(0);
  const before = useRef("");

  const stop = () => {
    if (running.value instanceof Object) running.value.stop();
  };
  useEffect(() => stop, []);

  const start = async () => {
    const listener = hearing();
    if (!listener) return;
    running.value = "starting";
    const { text } = draft.value;
    before.current = text === "" || /\s$/.test(text) ? text : `${text} `;
    try {
      const { Dictation } = await import("../speech/dictation.ts");
      running.value = await Dictation.start(listener.id, {
        text: (said) => (draft.value = { ...draft.value, text: before.current + said }),
        level: (loudest) => (level.value = loudest),
        ended: (failure) => {
          running.value = null;
          level.value = 0;
          if (failure) notify(failure);
          else announce("Dictation ended.");
        },
      });
      announce("Listening.");
    } catch (error) {
      running.value = null;
      notify((error as Error).message);
    }
  };
  const on = running.value !== null;
  return (
    <button
      type="button"
      class={on ? "quiet recording" : "quiet"}
      aria-pressed={on}
      aria-label="Dictate"
      title={on ? "End dictation" : "Dictate"}
      style={{ "--level": on ? Math.min(1, level.value * 3) : 0 }}
      onClick={() => (on ? stop() : void start())}
    >
      <Microphone />
    </button>
  );
}
