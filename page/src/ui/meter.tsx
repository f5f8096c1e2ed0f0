// How much of the model's context this conversation takes, and what of it was remembered.

import { useRef, useState } from "preact/hooks";

import { model, talk } from "../store/chat.ts";
import { showBelow } from "./fit.ts";

const number = new Intl.NumberFormat("en");

interface Use {
  prompt: number;
  cached: number;
  answer: number;
  length: number;
}

function use(): Use | null {
  for (const entry of [...talk.value.path.value].reverse()) {
    const { outcome, role } = entry.shown.value.data;
    if (role !== "assistant" || outcome?.prompt_tokens == null) continue;
    const length = outcome.context_length ?? model.value?.context_length;
    if (!length) return null;
    const { prompt_tokens: prompt, cached_tokens: cached = 0, completion_tokens: answer = 0 } = outcome;
    return { prompt, cached, answer, length };
  }
  return null;
}

export function Meter() {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const card = useRef<HTMLDivElement>(null);
  const used = use();
  if (!used) return null;
  const { prompt, cached, answer, length } = used;
  const total = prompt + answer;
  const share = (tokens: number) => Math.min(100, (100 * tokens) / length);
  const percent = Math.max(1, Math.round(share(total)));
  return (
    <>
      <button
        ref={button}
        type="button"
        class={percent > 85 ? "meter full" : "meter"}
        aria-expanded={open}
        aria-label={`Context: ${percent} % used`}
        onClick={() => showBelow(card.current!, button.current!)}
      >
        <svg viewBox="0 0 100 6" width="56" height="6" preserveAspectRatio="none" aria-hidden="true">
          <rect class="room" width="100" height="6" rx="3" />
          <rect class="used" width={Math.max(3, share(total))} height="6" rx="3" />
          <rect class="cached" width={share(cached)} height="6" rx="3" />
        </svg>
        <span aria-hidden="true">{percent} %</span>
      </button>
      <div
        ref={card}
        popover="auto"
        class="card"
        role="note"
        onToggle={(event) => setOpen(event.newState === "open")}
      >
        <p>
          This conversation takes <b>{number.format(total)}</b> of the model's{" "}
          <b>{number.format(length)}</b> tokens.
        </p>
        <p>
          The last question and all before it were {number.format(prompt)} tokens.{" "}
          {cached > 0
            ? `${number.format(cached)} of them were remembered and not read again.`
            : "All of them had to be read."}
        </p>
      </div>
    </>
  );
}
