import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { announced } from "../store/announce.ts";
import { model, setModel, talk } from "../store/chat.ts";
import { chatModels, refresh, server, serverFailure } from "../store/server.ts";
import { change, settings } from "../store/settings.ts";
import { addFiles, Composer } from "./composer.tsx";
import { Close, Gear, List } from "./icons.tsx";
import { KeyDialog } from "./keydialog.tsx";
import { Keys } from "./keys.tsx";
import { Conversations } from "./list.tsx";
import { Meter } from "./meter.tsx";
import { Panel } from "./panel.tsx";
import { Settings } from "./settings.tsx";
import { drawer, narrow, notice, over, source } from "./state.ts";
import { Thread } from "./thread.tsx";

export function App() {
  const dropping = useSignal(false);

  useEffect(() => {
    let depth = 0;
    const brings = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent) => {
      if (!brings(event)) return;
      depth++;
      dropping.value = true;
    };
    const leave = () => {
      depth = Math.max(0, depth - 1);
      dropping.value = depth > 0;
    };
    const over = (event: DragEvent) => brings(event) && event.preventDefault();
    const drop = (event: DragEvent) => {
      depth = 0;
      dropping.value = false;
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      void addFiles(files);
    };
    addEventListener("dragenter", enter);
    addEventListener("dragleave", leave);
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragenter", enter);
      removeEventListener("dragleave", leave);
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, []);

  const { title } = talk.value.conversation.value;
  useEffect(() => {
    document.title = title ? `${title} – Cactus` : "Cactus";
  }, [title]);

  const shape = ["app", settings.value.list ? "with-list" : "", drawer.value ? "with-drawer" : "", source.value ? "with-panel" : ""];
  return (
    <div class={shape.filter(Boolean).join(" ")}>
      <a class="skip" href="#write" onClick={(event) => {
        event.preventDefault();
        document.querySelector<HTMLElement>("#write")?.focus();
      }}>
        To the text field
      </a>
      <Conversations />
      <button type="button" class="shade" aria-label="Close the list" tabIndex={-1} onClick={() => (drawer.value = false)} />
      <main>
        <Head title={title} />
        {serverFailure.value && server.value && (
          <p class="banner" role="status">
            {serverFailure.value.title} {serverFailure.value.detail}{" "}
            <button type="button" class="plain" onClick={() => void refresh()}>
              Try again
            </button>
          </p>
        )}
        <Thread />
        <Composer />
      </main>
      <Panel />
      {over.value === "settings" && <Settings />}
      {over.value === "keys" && <Keys />}
      <KeyDialog />
      {dropping.value && <div class="drop">Drop pictures or recordings</div>}
      <div class="notice" role="status">
        {notice.value && (
          <p>
            {notice.value}
            <button type="button" class="quiet small" aria-label="Close" onClick={() => (notice.value = null)}>
              <Close />
            </button>
          </p>
        )}
      </div>
      <Announcements />
    </div>
  );
}

function Announcements() {
  return (
    <div class="hidden" role="log" aria-live="polite" aria-label="What happens">
      {announced.value.map(({ id, text }) => (
        <p key={id}>{text}</p>
      ))}
    </div>
  );
}

function Head({ title }: { title: string }) {
  const models = chatModels.value;
  const one = model.value;
  const toggle = () => {
    if (narrow()) drawer.value = true;
    else change({ list: true });
  };
  return (
    <header class="head">
      <button type="button" class="quiet show-list" aria-label="Show the list" aria-controls="list" onClick={toggle}>
        <List />
      </button>
      <h1 dir="auto">{title || "New conversation"}</h1>
      <Meter />
      {models.length > 0 && (
        <label class="model">
          <span class="hidden">Model</span>
          <select value={one?.id} onChange={(event) => setModel(event.currentTarget.value)}>
            {models.map(({ id }) => (
              <option key={id} value={id}>
                {id}
              </option>
            ))}
          </select>
        </label>
      )}
      <button type="button" class="quiet" aria-label="Settings" title="Settings" onClick={() => (over.value = "settings")}>
        <Gear />
      </button>
    </header>
  );
}
