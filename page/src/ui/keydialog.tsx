// The server's key, where it wants one. It is forgotten with the window.

import { useRef } from "preact/hooks";

import { setKey } from "../server/api.ts";
import { keyAsked, refresh } from "../store/server.ts";
import { Dialog } from "./dialog.tsx";

export function KeyDialog() {
  const input = useRef<HTMLInputElement>(null);
  const asked = keyAsked.value;
  if (!asked) return null;
  const give = async () => {
    const secret = input.current!.value.trim();
    if (!secret) return;
    setKey(secret);
    keyAsked.value = null;
    await refresh();
    if (keyAsked.value) keyAsked.value = { wrong: true, then: asked.then };
    else asked.then();
  };
  return (
    <Dialog title="This server asks for a key" close={() => (keyAsked.value = null)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void give();
        }}
      >
        <p>
          {asked.wrong ? "The key was not the right one. " : ""}
          It is the one that <code>cactus serve</code> was started with. This window keeps it until it is closed.
        </p>
        <label class="field">
          <span>Key</span>
          <input ref={input} type="password" autocomplete="off" autofocus aria-invalid={asked.wrong} />
        </label>
        <div class="actions">
          <button type="submit" class="strong">
            Use it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
