// Settings: of this conversation, of the page, and what is kept.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

import { list, remove, setOptions, talk } from "../store/chat.ts";
import { forgetful } from "../store/db.ts";
import { server } from "../store/server.ts";
import { change, settings, type Theme } from "../store/settings.ts";
import type { Options } from "../store/types.ts";
import { shadingWorks } from "../text/confidence.ts";
import { Confirm, Dialog } from "./dialog.tsx";
import { importFile, saveJson } from "./list.tsx";
import { over } from "./state.ts";

export function Settings() {
  const options = talk.value.conversation.value.options;
  const { theme, enterSends, confidences } = settings.value;
  const removing = useSignal(false);
  const chooser = useRef<HTMLInputElement>(null);
  return (
    <Dialog title="Settings" close={() => (over.value = null)} wide>
      <section>
        <h3>This conversation</h3>
        <p class="hint">New conversations begin with the same.</p>
        <label class="field tall">
          <span>Instructions</span>
          <textarea
            rows={4}
            placeholder="How the model is to answer, whatever is asked (the system message)"
            value={options.system}
            onInput={(event) => setOptions({ system: event.currentTarget.value })}
          />
        </label>
        <div class="fields">
          <NumberField name="temperature" label="Temperature" help="0 is always the likeliest word" min={0} max={2} options={options} />
          <NumberField name="top_p" label="Top p" help="words beyond this share are left out" min={0.01} max={1} options={options} />
          <NumberField name="max_tokens" label="Most tokens" help="of one answer" min={1} max={1_000_000} whole options={options} />
          <NumberField name="seed" label="Seed" help="the same seed, the same answer" min={0} max={4_294_967_295} whole options={options} />
        </div>
        <label class="field">
          <span>Thinking</span>
          <select
            value={String(options.thinking)}
            onChange={(event) => setOptions({ thinking: JSON.parse(event.currentTarget.value) as boolean | null })}
          >
            <option value="null">As the model does by itself</option>
            <option value="true">Before each answer</option>
            <option value="false">Never</option>
          </select>
        </label>
      </section>
      <section>
        <h3>The page</h3>
        <label class="field">
          <span>Colours</span>
          <select value={theme} onChange={(event) => change({ theme: event.currentTarget.value as Theme })}>
            <option value="auto">As the system has them</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </select>
        </label>
        <Check name="Enter sends; Shift+Enter begins a line" on={enterSends} set={(on) => change({ enterSends: on })} />
        <Check
          name="Shade what the model was unsure of"
          help={
            shadingWorks()
              ? "Of answers that are written from now on. The darker, the less likely the word."
              : "This browser cannot paint it: it lacks custom highlights."
          }
          on={confidences}
          set={(on) => change({ confidences: on })}
        />
        {confidences && (
          <p class="legend" aria-label="Legend">
            <span class="level-1">below 80 %</span> <span class="level-2">below 50 %</span>{" "}
            <span class="level-3">below 20 %</span>
          </p>
        )}
      </section>
      <section>
        <h3>What is kept</h3>
        <p class="hint">{forgetful.value || "Conversations are kept in this browser, and nowhere else."}</p>
        <input
          ref={chooser}
          type="file"
          accept="application/json,.json"
          hidden
          aria-label="File of conversations"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) void importFile(file);
            event.currentTarget.value = "";
          }}
        />
        <div class="actions start">
          <button
            type="button"
            class="plain"
            disabled={list.value.length === 0}
            onClick={() => void saveJson(list.value.map(({ id }) => id), "conversations")}
          >
            Save all as JSON
          </button>
          <button type="button" class="plain" onClick={() => chooser.current?.click()}>
            Read a file
          </button>
          <button
            type="button"
            class="plain danger-text"
            disabled={list.value.length === 0}
            onClick={() => (removing.value = true)}
          >
            Delete all
          </button>
        </div>
      </section>
      <p class="hint">
        Cactus {server.value?.version} · <a href="./licenses.txt">what the page is built from</a>
      </p>
      {removing.value && (
        <Confirm
          title="Delete all conversations?"
          text={`${list.value.length} conversations are removed from this browser. They cannot be brought back.`}
          action="Delete all"
          close={() => (removing.value = false)}
          sure={() => void remove(null)}
        />
      )}
    </Dialog>
  );
}

interface NumberProps {
  name: "temperature" | "top_p" | "max_tokens" | "seed";
  label: string;
  help: string;
  min: number;
  max: number;
  whole?: boolean;
  options: Options;
}

function NumberField({ name, label, help, min, max, whole, options }: NumberProps) {
  const wrong = useSignal<string | null>(null);
  const take = (input: HTMLInputElement) => {
    wrong.value = input.validity.valid ? null : `A number from ${min} to ${max}${whole ? ", without a fraction" : ""}.`;
    if (wrong.value === null) setOptions({ [name]: input.value === "" ? null : input.valueAsNumber });
  };
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min={min}
        max={max}
        step={whole ? 1 : "any"}
        placeholder="the model's own"
        defaultValue={options[name] === null ? "" : String(options[name])}
        aria-invalid={wrong.value !== null}
        onInput={(event) => take(event.currentTarget)}
      />
      <small class={wrong.value ? "wrong" : ""}>{wrong.value ?? help}</small>
    </label>
  );
}

function Check(props: { name: string; help?: string; on: boolean; set: (on: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={props.on} onChange={(event) => props.set(event.currentTarget.checked)} />
      <span>
        {props.name}
        {props.help && <small>{props.help}</small>}
      </span>
    </label>
  );
}
