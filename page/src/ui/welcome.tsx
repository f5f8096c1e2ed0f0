// An empty conversation says what is there to talk to.

import { model } from "../store/chat.ts";
import { hearing, refresh, server, serverFailure } from "../store/server.ts";
import { Logo } from "./icons.tsx";

const number = new Intl.NumberFormat("en");

export function Welcome() {
  const status = server.value;
  const failure = serverFailure.value;
  const one = model.value;
  return (
    <section class="welcome">
      <Logo />
      <h2>Ask anything. {place()}</h2>
      {failure && !status && (
        <p>
          {failure.title} {failure.detail}{" "}
          <button type="button" class="plain" onClick={() => void refresh()}>
            Try again
          </button>
        </p>
      )}
      {status && !one && (
        <p>
          The server has no model that can chat. Start it with one: <code>cactus serve MODEL</code>
        </p>
      )}
      {status && one && (
        <ul>
          <li>
            <b>{one.id}</b> answers
            {one.context_length ? `, and keeps ${number.format(one.context_length)} tokens in mind` : ""}.
            {one.loaded ? "" : " It is loaded with the first question."}
          </li>
          {one.abilities.includes("see") && <li>It sees: drop pictures anywhere, or paste them.</li>}
          {hearing() && <li>You can speak instead of writing.</li>}
          {status.documents && (
            <li>
              It can answer from <b>{status.documents.name}</b> ({number.format(status.documents.files)}{" "}
              {status.documents.files === 1 ? "file" : "files"}) and say where each sentence comes from.
            </li>
          )}
          {matchMedia("(hover: hover)").matches && (
            <li>
              Press <kbd>?</kbd> for what the keyboard can do.
            </li>
          )}
        </ul>
      )}
    </section>
  );
}

/** Where what one writes goes. */
function place(): string {
  const here = /^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
  return here ? "It stays on this machine." : `It stays between this browser and ${location.hostname}.`;
}
