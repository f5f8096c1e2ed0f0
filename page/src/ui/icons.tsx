// Drawn with one pen: 20 units wide, a line of 1.5.

import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg
      class="icon"
      viewBox="0 0 20 20"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

function line(d: string) {
  return () => (
    <Icon>
      <path d={d} />
    </Icon>
  );
}

export const Plus = line("M10 4v12M4 10h12");
export const List = line("M3.5 5.5h13M3.5 10h13M3.5 14.5h8");
export const Close = line("m5 5 10 10M15 5 5 15");
export const More = line("M4.5 10h.01M10 10h.01M15.5 10h.01");
export const Up = line("M10 16V4.5M5 9.5l5-5 5 5");
export const Down = line("M10 4v11.5M5 10.5l5 5 5-5");
export const Left = line("m12 5-5 5 5 5");
export const Right = line("m8 5 5 5-5 5");
export const Copy = line("M7.5 7.5V4.5h8v8h-3M4.5 7.5h8v8h-8z");
export const Check = line("m4.5 10.5 3.5 3.5 7.5-8");
export const Edit = line("m4 16 .8-3.2L13 4.6l2.4 2.4-8.2 8.2zM11.5 6.1l2.4 2.4");
export const Again = line("M15.8 10a5.8 5.8 0 1 1-1.7-4.1l1.7 1.6M15.8 4v3.5h-3.5");
export const Picture = line("M3.5 4.5h13v11h-13zM3.5 13l3.8-3.8 3.2 3.2 2-2 4 4M12.5 7.5h.01");
export const Microphone = line("M10 3.5a2 2 0 0 1 2 2v4a2 2 0 0 1-4 0v-4a2 2 0 0 1 2-2M5.5 9.5a4.5 4.5 0 0 0 9 0M10 14v2.8");
export const Book = line("M10 5.5C8.3 4.3 6.3 4 3.5 4v11c2.8 0 4.8.3 6.5 1.5 1.7-1.2 3.7-1.5 6.5-1.5V4c-2.8 0-4.8.3-6.5 1.5v11");
export const Tool = line("M12.9 3.9a3.9 3.9 0 0 0-4.8 5L3.7 13.3a2.1 2.1 0 0 0 3 3l4.4-4.4a3.9 3.9 0 0 0 5-4.8l-2.3 2.3-2.4-.8-.8-2.4z");
export const Thought = line("M7.5 16.5h5M8 14c0-2-2.5-3-2.5-6a4.5 4.5 0 0 1 9 0c0 3-2.5 4-2.5 6z");
export const Gear = line("M4 6h7M15 6h1M4 14h1M9 14h7M13 4.3v3.4M7 12.3v3.4");
export const Search = line("M9 4a5 5 0 1 1 0 10A5 5 0 0 1 9 4M12.7 12.7 16 16");
export const Warning = line("M10 3.5 17 16H3zM10 8.5v3.5M10 14.2v.01");

export function Stop() {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
      <rect x="5.5" y="5.5" width="9" height="9" rx="1.5" fill="currentColor" />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" width="32" height="32" fill="none" aria-hidden="true">
      <path
        d="M16 24V6.5M16 18.5h-3.5a4 4 0 0 1-4-4v-2.5M16 15.5h3.5a4 4 0 0 0 4-4V10"
        stroke="var(--green)"
        stroke-width="4"
        stroke-linecap="round"
      />
      <path d="M9.5 23.5h13l-1.7 6h-9.6z" fill="var(--clay)" />
    </svg>
  );
}
