// A message in memory. Its data changes in place while an answer comes; `shown` says so once a
// frame, however many tokens there were.

import { signal, type Signal } from "@preact/signals";

import type { Node } from "../core/tree.ts";
import type { Message } from "./types.ts";

export class Entry implements Node {
  readonly data: Message;
  /** What a component reads, to be told of changes. */
  readonly shown: Signal<{ readonly data: Message }>;
  private asked = 0;

  constructor(data: Message) {
    this.data = data;
    this.shown = signal({ data });
  }

  get id(): string {
    return this.data.id;
  }

  get parent(): string | null {
    return this.data.parent;
  }

  get created(): number {
    return this.data.created;
  }

  /** Another window has written it further. */
  become(data: Message): void {
    Object.assign(this.data, data);
    this.show();
  }

  /** Show what has changed with the next frame. */
  touch(): void {
    this.asked ||= requestAnimationFrame(() => this.show());
  }

  /** Show it now: frames stop in a window that is not seen. */
  show(): void {
    if (this.asked) cancelAnimationFrame(this.asked);
    this.asked = 0;
    this.shown.value = { data: this.data };
  }
}
