// A button with a menu: arrows move, Escape closes.

import { useRef, useState } from "preact/hooks";

import { More } from "./icons.tsx";

export interface Item {
  name: string;
  act: () => void;
  danger?: boolean;
}

export function Menu({ name, items }: { name: string; items: Item[] }) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);

  const show = () => {
    const menu = list.current!;
    menu.showPopover();
    const at = button.current!.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = menu;
    menu.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`;
    menu.style.top = `${at.bottom + height + 8 > innerHeight ? at.top - height - 4 : at.bottom + 4}px`;
    menu.querySelector("button")?.focus();
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
