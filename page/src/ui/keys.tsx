// The keyboard: what each key does, and the page that says so.

import { startNew, talk } from "../store/chat.ts";
import { settings } from "../store/settings.ts";
import { Dialog } from "./dialog.tsx";
import { focusComposer, focusSearch } from "./list.tsx";
import { drawer, over, source } from "./state.ts";
import { stepMessage } from "./thread.tsx";

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
const CONTROL = mac ? "⌘" : "Ctrl";

function rows(): [string, string[][]][] {
  const send = settings.value.enterSends ? ["Enter"] : [CONTROL, "Enter"];
  const line = settings.value.enterSends ? ["Shift", "Enter"] : ["Enter"];
  return [
    ["Send", [send]],
    ["A new line", [line]],
    ["Stop the answer; close what is open", [["Escape"]]],
    ["New conversation", [["Alt", "N"]]],
    ["Search conversations", [[CONTROL, "K"]]],
    ["Settings", [[CONTROL, ","]]],
    ["Write", [["/"]]],
    ["In an empty text field: to the last question", [["↑"]]],
    ["To the message before, behind", [["Alt", "↑"], ["Alt", "↓"]]],
    ["On a message: edit", [["E"]]],
    ["On a message: copy", [["C"]]],
    ["On an answer: answer again", [["R"]]],
    ["On a message: other branches", [["←"], ["→"]]],
    ["This table", [["?"]]],
  ];
}

export function Keys() {
  return (
    <Dialog title="Keyboard" close={() => (over.value = null)}>
      <table class="keys">
        <thead class="hidden">
          <tr>
            <th>What</th>
            <th>Keys</th>
          </tr>
        </thead>
        <tbody>
          {rows().map(([what, ways]) => (
            <tr key={what}>
              <td>{what}</td>
              <td>
                {ways.map((way, i) => (
                  <span key={way.join()}>
                    {i > 0 && ", "}
                    {way.map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </span>
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}

export function listenToKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const target = event.target as HTMLElement;
    const writing = target.matches?.("input, textarea, select, [contenteditable]");
    const { key } = event;
    const control = mac ? event.metaKey : event.ctrlKey;
    if (document.querySelector("dialog[open]")) return;
    if (key === "Escape") {
      if (document.querySelector(":popover-open")) return;
      if (source.value) source.value = null;
      else if (drawer.value) drawer.value = false;
      else if (talk.value.running.value) talk.value.stop();
      else return;
    } else if (control && !event.altKey && key.toLowerCase() === "k") focusSearch();
    else if (control && key === ",") over.value = "settings";
    else if (event.altKey && !control && event.code === "KeyN") {
      startNew();
      focusComposer();
    } else if (event.altKey && (key === "ArrowUp" || key === "ArrowDown")) stepMessage(key === "ArrowUp" ? -1 : 1);
    else if (!writing && !control && !event.altKey && key === "?") over.value = "keys";
    else if (!writing && !control && !event.altKey && key === "/") focusComposer();
    else return;
    event.preventDefault();
  });
}
