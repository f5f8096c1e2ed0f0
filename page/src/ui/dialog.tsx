// A dialog above the page: the browser keeps the focus inside, and Escape closes it.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Close } from "./icons.tsx";

interface Props {
  title: string;
  close: () => void;
  children: ComponentChildren;
  wide?: boolean;
}

let made = 0;

export function Dialog({ title, close, children, wide }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const name = useRef(`dialog-${++made}`);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    element.current?.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby={name.current}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onMouseDown={(event) => event.target === element.current && close()}
    >
      <div class="sheet">
        <header>
          <h2 id={name.current}>{title}</h2>
          <button type="button" class="quiet" aria-label="Close" onClick={close}>
            <Close />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** A question before something that cannot be undone. */
export function Confirm(props: { title: string; text: string; action: string; close: () => void; sure: () => void }) {
  return (
    <Dialog title={props.title} close={props.close}>
      <p>{props.text}</p>
      <div class="actions">
        <button type="button" class="plain" onClick={props.close}>
          Cancel
        </button>
        <button
          type="button"
          class="danger"
          onClick={() => {
            props.close();
            props.sure();
          }}
        >
          {props.action}
        </button>
      </div>
    </Dialog>
  );
}
