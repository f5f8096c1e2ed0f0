// What one can do with a message: small buttons below it, each with a key of its own.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { announce } from "../store/announce.ts";
import { Check, Copy, Edit } from "./icons.tsx";
import { copy } from "./state.ts";

interface Props {
  name: string;
  /** On the keyboard, while the message has the focus. */
  letter: string;
  disabled?: boolean;
  act: () => void;
  children: ComponentChildren;
}

export function Action({ name, letter, disabled, act, children }: Props) {
  return (
    <button
      type="button"
      class="quiet small"
      disabled={disabled}
      aria-label={name}
      title={`${name} (${letter})`}
      onClick={act}
    >
      {children}
    </button>
  );
}

export function CopyButton({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  const press = async () => {
    if (!(await copy(text))) return;
    announce("Copied.");
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <Action name="Copy" letter="C" act={() => void press()}>
      {done ? <Check /> : <Copy />}
    </Action>
  );
}

export function EditButton({ disabled, act }: { disabled: boolean; act: () => void }) {
  return (
    <Action name="Edit" letter="E" disabled={disabled} act={act}>
      <Edit />
    </Action>
  );
}
