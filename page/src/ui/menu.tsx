// A button with a menu: arrows move, Escape closes.

import { useRef, useState } from "preact/hooks";

import { showBelow } from "./fit.ts";
import { More } from "./icons.tsx";

interface Item {
  name: string;
  act: () => void;
  danger?: boolean;
}

export function Menu({ name, items }: { name: string; items: Item[] }) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);

  const show = () => {
    showBelow(list.current!, button.current!);
    list.current!.querySelector("button")?.focus();
  };
  const hide = () => {
    list.current?.hidePopover();
    button.current?.focus();
  };
  const move = (event: KeyboardEvent) => {
    const all = [...list.current!.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement as HTMLButtonElement);
    const to =
      event.key === "ArrowDown" ? at + 1
      : event.key === "ArrowUp" ? at - 1
      : event.key === "Home" ? 0
      : event.key === "End" ? all.length - 1
      : null;
    if (event.key === "Tab") hide();
    if (to === null) return;
    event.preventDefault();
    all[(to + all.length) % all.length]?.focus();
  };

  return (
    <>
      <button
        ref={button}
        type="button"
        class="quiet small"
        aria-label={name}
        aria-haspopup="menu"
        aria-expanded={open}
        onClick={show}
      >
        <More />
      </button>
      <div
        ref={list}
        popover="auto"
        class="menu"
        role="menu"
        aria-label={name}
        onKeyDown={move}
        onToggle={(event) => setOpen(event.newState === "open")}
      >
        {items.map((item) => (
          <button
            key={item.name}
            type="button"
            role="menuitem"
            tabIndex={-1}
            class={item.danger ? "danger-text" : ""}
            onClick={() => {
              hide();
              item.act();
            }}
          >
            {item.name}
          </button>
        ))}
      </div>
    </>
  );
}
