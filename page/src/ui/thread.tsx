// The conversation. While an answer comes the end stays in sight, unless one has scrolled away.

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { model, regenerate, talk } from "../store/chat.ts";
import type { Entry } from "../store/entry.ts";
import { Answer } from "./answer.tsx";
import { focusMessage, toSibling } from "./branches.tsx";
import { Down } from "./icons.tsx";
import { Question } from "./question.tsx";
import { copy, notify } from "./state.ts";
import { Welcome } from "./welcome.tsx";

const NEAR = 60; // pixels from the end that still count as the end

export function Thread() {
  const scroller = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const before = useRef({ top: 0, height: 0 });
  const away = useSignal(false);
  const editing = useSignal<string | null>(null);
  const here = talk.value;
  const path = here.path.value;
  const busy = here.running.value !== null;

  const toEnd = () => {
    following.current = true;
    away.value = false;
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  };

  // Another conversation, or a new message: to the end.
  useLayoutEffect(toEnd, [here, path.length]);

  useEffect(() => {
    const element = scroller.current!;
    const watch = new ResizeObserver(() => {
      if (following.current) element.scrollTop = element.scrollHeight;
    });
    watch.observe(element);
    watch.observe(element.firstElementChild!);
    return () => watch.disconnect();
  }, []);

  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current!;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    // Blocks that are measured when they are seen move the end, too: only a person goes up.
    const { top, height } = before.current;
    if (near) following.current = true;
    else if (scrollTop < top - 1 && scrollHeight >= height) following.current = false;
    before.current = { top: scrollTop, height: scrollHeight };
    away.value = !near && !following.current;
  };

  return (
    <div class="thread-frame">
      <div class="thread" ref={scroller} onScroll={scrolled} tabIndex={0} role="region" aria-label="Conversation">
        <div class="messages">
          {path.length === 0 && <Welcome />}
          {path.map((entry, i) => (
            <Message
              key={entry.id}
              entry={entry}
              number={i + 1}
              last={i >= path.length - 2}
              busy={busy}
              editing={editing.value === entry.id}
              edit={(on) => {
                editing.value = on ? entry.id : null;
                if (!on) focusMessage(entry.id);
              }}
            />
          ))}
        </div>
      </div>
      {away.value && (
        <button type="button" class="to-end" onClick={toEnd}>
          <Down /> To the end
        </button>
      )}
    </div>
  );
}

interface Props {
  entry: Entry;
  number: number;
  last: boolean;
  busy: boolean;
  editing: boolean;
  edit: (on: boolean) => void;
}

function Message(props: Props) {
  const { entry, number, last, busy, edit } = props;
  const { role } = entry.data;
  const asked = role === "user";
  const who = asked ? "You" : (entry.data.model ?? model.value?.id ?? "Answer");

  // Letters count only while the message itself has the focus.
  const press = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "ArrowLeft") toSibling(entry, -1);
    else if (key === "ArrowRight") toSibling(entry, 1);
    else if (key === "c") void copy(entry.data.text).then((done) => done && notify("Copied."));
    else if (key === "e" && !busy) edit(true);
    else if (key === "r" && !busy && !asked) {
      void regenerate(entry);
      focusMessage(talk.value.path.value.at(-1)!.id);
    }
    else return;
    event.preventDefault();
  };

  return (
    <article
      id={entry.id}
      class={`message ${role}${last ? " last" : ""}`}
      aria-label={`${number}, ${who}`}
      tabIndex={-1}
      onKeyDown={press}
    >
      <h2 class="who" title={who}>
        {asked ? "You" : shortName(who)}
      </h2>
      <div class="body">{asked ? <Question {...props} /> : <Answer {...props} />}</div>
    </article>
  );
}

/** A model's name without its publisher. */
function shortName(id: string): string {
  return id.split("/").at(-1)!;
}

/** The message before or behind the one that has the focus. */
export function stepMessage(step: number): void {
  const all = [...document.querySelectorAll<HTMLElement>(".message")];
  const at = all.findIndex((one) => one.contains(document.activeElement));
  const next = at < 0 ? (step < 0 ? all.at(-1) : all[0]) : all[at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
