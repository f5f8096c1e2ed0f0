// The passage that a citation points to, at the side, with what stands around it.

import { useEffect, useRef, useState } from "preact/hooks";

import { passage } from "../server/api.ts";
import { asFailure, type FailureData } from "../server/failure.ts";
import type { PassageText } from "../server/types.ts";
import { Close } from "./icons.tsx";
import { source } from "./state.ts";

export function Panel() {
  const shown = source.value;
  const [found, setFound] = useState<PassageText | FailureData | null>(null);
  const [tries, setTries] = useState(0);
  const panel = useRef<HTMLElement>(null);
  const before = useRef<HTMLElement | null>(null);

  useEffect(() => {
    if (!shown) return;
    before.current = document.activeElement as HTMLElement | null;
    panel.current?.focus();
  }, [shown?.passage_id]);

  useEffect(() => {
    if (!shown) return;
    let current = true;
    setFound(null);
    passage(shown.passage_id).then(
      (text) => current && setFound(text),
      (error: unknown) => current && setFound(asFailure(error).data),
    );
    return () => {
      current = false;
    };
  }, [shown?.passage_id, tries]);

  useEffect(() => {
    panel.current?.querySelector("mark")?.scrollIntoView({ block: "center" });
  }, [found]);

  if (!shown) return null;
  const close = () => {
    source.value = null;
    if (before.current?.isConnected) before.current.focus();
  };
  return (
    <aside
      class="panel"
      aria-label={`Source ${shown.number}`}
      ref={panel}
      tabIndex={-1}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        close();
      }}
    >
      <header>
        <div>
          <p class="number">Source {shown.number}</p>
          <h2>{shown.place}</h2>
        </div>
        <button type="button" class="quiet" aria-label="Close the source" onClick={close}>
          <Close />
        </button>
      </header>
      <div class="passage" tabIndex={0} role="region" aria-label="Passage">
        {found === null && <p class="remark">It is being read.</p>}
        {found !== null && "kind" in found && (
          <>
            <p>{found.title}</p>
            <p>{found.detail}</p>
            <button type="button" class="plain" onClick={() => setTries(tries + 1)}>
              Try again
            </button>
          </>
        )}
        {found !== null && "text" in found && (
          <p class="text" dir="auto">
            {found.before}
            <mark>{found.text}</mark>
            {found.after}
          </p>
        )}
      </div>
      {shown.score !== null && <p class="remark">It supports the sentence by {Math.round(shown.score * 100)} %.</p>}
    </aside>
  );
}
