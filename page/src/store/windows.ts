// Other windows with the page: each is told what one of them has changed in the browser's storage.

export interface Change {
  /** `null`: all of them. */
  conversation: string | null;
  /** It was removed. */
  gone?: boolean;
  /** Its name, or its place in the list. */
  head?: boolean;
  /** The messages that are new or different. */
  messages?: string[];
  /** Whoever writes an answer in it is to say how far that is. */
  asks?: boolean;
}

let channel: BroadcastChannel | null = null;

export function tell(change: Change): void {
  channel?.postMessage(change);
}

/** `then` is called with each change, one after the other. */
export function listen(then: (change: Change) => Promise<void>): void {
  channel = new BroadcastChannel("cactus");
  let before = Promise.resolve();
  channel.onmessage = ({ data }: MessageEvent<Change>) => {
    before = before.then(() => then(data)).catch((error: unknown) => void Promise.reject(error));
  };
}
