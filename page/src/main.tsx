import { render } from "preact";

import { openAddress, readList } from "./store/chat.ts";
import { takeUp } from "./store/db.ts";
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
  try {
    await takeUp();
    await readList();
    await openAddress();
  } catch {
    notify("This browser does not let the page keep conversations; they last until it is closed.");
  }
  render(<App />, document.querySelector("#app")!);
  listenToKeys();
  addEventListener("popstate", () => void openAddress());
  addEventListener("online", () => void refresh());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void refresh();
  });
  if (matchMedia("(hover: hover)").matches) focusComposer();
}

// What could not be written down is said, not lost in silence.
addEventListener("unhandledrejection", ({ reason }) => {
  if (!(reason instanceof DOMException)) return;
  const full = reason.name === "QuotaExceededError";
  notify(full ? "This browser's storage is full: what is new is not kept." : `This browser did not keep it: ${reason.message}`);
});

void start();
