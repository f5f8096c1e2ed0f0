// What a model did before it answered: reasoning and tools, both folded.

import type { ToolUse } from "../server/types.ts";

export function Reasoning({ text, ms, thinking }: { text: string; ms: number; thinking: boolean }) {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return (
    <details class="work reasoning">
      <summary>
        <span class={thinking ? "doing" : ""}>
          {thinking ? "Thinking" : `Thought for ${seconds} second${seconds === 1 ? "" : "s"}`}
        </span>
      </summary>
      <div class="thought" dir="auto">{text}</div>
    </details>
  );
}

const STATES = {
  running: "runs",
  done: "done",
  failed: "failed",
} as const;

export function ToolUses({ all }: { all: readonly ToolUse[] }) {
  return (
    <ul class="uses" aria-label="Tools">
      {all.map((use) => (
        <li key={use.id}>
          <details class={`work use ${use.state}`}>
            <summary>
              <code>{use.name}</code>
              <span class={use.state === "running" ? "state doing" : "state"}>{STATES[use.state]}</span>
            </summary>
            <dl>
              <dt>Arguments</dt>
              <dd>
                <pre tabIndex={0}>{JSON.stringify(use.arguments, null, 2)}</pre>
              </dd>
              {use.result !== null && (
                <>
                  <dt>{use.state === "failed" ? "Error" : "Result"}</dt>
                  <dd>
                    <pre tabIndex={0}>{use.result}</pre>
                  </dd>
                </>
              )}
            </dl>
          </details>
        </li>
      ))}
    </ul>
  );
}
