// A message that is being edited.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { direction } from "../core/direction.ts";
import { fit } from "./fit.ts";

interface Props {
  name: string;
  text: string;
  write: (text: string) => void;
  /** What becomes of the old one. */
  hint: string;
  action: string;
  can?: boolean;
  act: () => void;
  cancel: () => void;
  /** What stands above the text. */
  children?: ComponentChildren;
}

export function Editor({ name, text, write, hint, action, can = true, act, cancel, children }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    area.current?.focus();
    fit(area.current);
  }, []);
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        act();
      }}
    >
      {children}
      <textarea
        ref={area}
        dir={direction(text)}
        aria-label={name}
        value={text}
        onInput={(event) => {
          write(event.currentTarget.value);
          fit(event.currentTarget);
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") cancel();
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && can) act();
          event.stopPropagation();
        }}
      />
      <div class="actions">
        <span class="hint">{hint}</span>
        <button type="button" class="plain" onClick={cancel}>
          Cancel
        </button>
        <button type="submit" class="strong" disabled={!can}>
          {action}
        </button>
      </div>
    </form>
  );
}
