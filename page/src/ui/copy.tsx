import { useState } from "preact/hooks";

import { announce } from "../store/announce.ts";
import { Check, Copy } from "./icons.tsx";
import { copy } from "./state.ts";

export function CopyButton({ text }: { text: () => string }) {
  const [done, setDone] = useState(false);
  return (
    <button
      type="button"
      class="quiet small"
      aria-label="Copy"
      title="Copy (C)"
      onClick={async () => {
        if (!(await copy(text()))) return;
        announce("Copied.");
        setDone(true);
        setTimeout(() => setDone(false), 1500);
      }}
    >
      {done ? <Check /> : <Copy />}
    </button>
  );
}
