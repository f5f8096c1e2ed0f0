import { render } from "preact";

import { openAddress, readList, takeLeft, takeOver } from "./store/chat.ts";
import { forgetful, takeUp, whenLeft } from "./store/db.ts";
import { listen } from "./store/windows.ts";
import { notify } from "./ui/state.ts";
import { refresh } from "./store/server.ts";
import { App } from "./ui/app.tsx";
import { listenToKeys } from "./ui/keys.tsx";
import { focusComposer } from "./ui/list.tsx";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/message.css";
import "./styles/prose.css";
import "./styles/composer.css";
import "./styles/dialog.css";

async function start(): Promise<void> {
  void refresh();
  for (const step of [takeUp, readList, openAddress]) {
    // The page is there without what it cannot read; what that is, is said below.
    await step().catch((error: unknown) => void Promise.reject(error));
  }
  render(<App />, document.querySelector("#app")!);
  listenToKeys();
  if (forgetful.value) notify(forgetful.value);
  else listen(takeOver);
  whenLeft(takeLeft);
  addEventListener("popstate", () => void openAddress());
  addEventListener("online", () => void refresh());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void refresh();
  });
  if (matchMedia("(hover: hover)").matches) focusComposer();
}

// What could not be written down is said, not lost in silence.
addEventListener("unhandledrejection", (event) => {
  const { reason } = event;
  if (!(reason instanceof DOMException)) return;
  event.preventDefault();
  const full = reason.name === "QuotaExceededError";
  notify(full ? "This browser's storage is full: what is new is not kept." : `This browser did not keep it: ${reason.message}`);
});

void start();
