// A page that is open in a window of its own, and what cases do with it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { png } from "./picture.mjs";

const WAIT = 120_000; // for what must come; a case that is right needs a fraction of it

export class Stage {
  /** `open` makes a context of a browser. */
  static async open(open, address, axe, options) {
    const context = await open({
      viewport: { width: 1280, height: 800 },
      permissions: ["clipboard-read", "clipboard-write", "microphone"],
      acceptDownloads: true,
      ...options,
    });
    context.setDefaultTimeout(WAIT);
    await context.addInitScript(watch);
    const stage = new Stage(context, address, axe);
    await stage.window();
    return stage;
  }

  constructor(context, address, axe) {
    Object.assign(this, { context, address, axe });
    this.errors = [];
    this.addresses = new Set();
    this.asked = [];
  }

  /** Another window of the same browser; the case goes on in it. */
  async window() {
    const page = await this.context.newPage();
    page.on("pageerror", (error) => this.errors.push(String(error.stack ?? error)));
    page.on("request", (request) => this.addresses.add(request.url()));
    page.on("dialog", (dialog) => {
      this.errors.push(`a dialog of the browser: ${dialog.message()}`);
      void dialog.dismiss();
    });
    this.page = page;
  }

  // -- Going to the page

  async go() {
    await this.page.goto(this.address);
    await this.page.locator("#write").waitFor();
    await this.page.locator(".model select, .welcome p").first().waitFor();
  }

  /** What the server says of itself, changed by `change`. */
  async status(change) {
    await this.page.route("**/cactus/status", async (route) => {
      const response = await route.fetch();
      const body = await response.json();
      change(body);
      await route.fulfill({ response, json: body });
    });
  }

  /** Answers of a recording: one list of chunks for each question, the last for all others. */
  async record(...recordings) {
    await this.page.route("**/v1/chat/completions", async (route) => {
      this.asked.push(route.request().postDataJSON());
      const chunks = recordings.length > 1 ? recordings.shift() : recordings[0];
      const body = events(chunks, !chunks.cut);
      await route.fulfill({ contentType: "text/event-stream", body });
    });
  }

  /** Answers that come when the case says so: `send`, then `end`. */
  async live() {
    await this.context.addInitScript(feed);
    return {
      send: async (...chunks) => {
        await this.page.waitForFunction(() => window.feed.controller !== null);
        await this.page.evaluate((text) => window.feed.send(text), events(chunks, false));
      },
      end: async (...chunks) => {
        await this.page.waitForFunction(() => window.feed.controller !== null);
        await this.page.evaluate((text) => window.feed.end(text), events([...chunks, last()]));
      },
    };
  }

  // -- Doing what a person does

  async write(text) {
    await this.page.locator("#write").fill(text);
  }

  async ask(text) {
    await this.write(text);
    await this.page.keyboard.press("Enter");
  }

  /** Asks, and waits until the answer has ended. */
  async chat(text) {
    const before = await this.answers().count();
    await this.ask(text);
    await this.page.waitForFunction(
      (count) => document.querySelectorAll(".message.assistant").length > count,
      before,
    );
    await this.ended();
  }

  /** A live answer that has begun with `text`. */
  async coming(question, text) {
    const feed = await this.live();
    await this.go();
    await this.ask(question);
    await feed.send(delta(text));
    await this.text(text).waitFor();
    return feed;
  }

  /** Another answer to the last question, which is `text`. */
  async again(text) {
    await this.button("Answer again").click();
    await this.text(text).waitFor();
    await this.ended();
  }

  /** Opens the page again, once the browser has written down what it was told to. */
  async reload() {
    await this.page.evaluate(async () => {
      const result = (request) =>
        new Promise((go, fail) => {
          request.onsuccess = () => go(request.result);
          request.onerror = () => fail(request.error);
        });
      const db = await result(indexedDB.open("cactus"));
      // This transaction begins when all before it have ended.
      await result(db.transaction([...db.objectStoreNames]).objectStore("messages").count());
      db.close();
    });
    await this.page.reload();
  }

  /** Until `holds` of what the case has seen. */
  async until(holds) {
    const end = Date.now() + WAIT;
    while (!holds()) {
      assert.ok(Date.now() < end, `this never came: ${holds}`);
      await this.page.waitForTimeout(20);
    }
  }

  /** Until the page has drawn what it knows. */
  async drawn() {
    await this.page.evaluate(async () => {
      for (let i = 0; i < 3; i++) await new Promise((go) => requestAnimationFrame(go));
    });
  }

  async ended() {
    await this.page.locator('.prose[aria-busy="true"]').waitFor({ state: "detached" });
    await this.page.locator(".message.assistant").last().locator(".tools").waitFor();
  }

  answers() {
    return this.page.locator(".message.assistant");
  }

  questions() {
    return this.page.locator(".message.user");
  }

  /** What is said in the conversation. */
  text(text) {
    return this.page.locator(".messages").getByText(text);
  }

  // Texts are read as textContent: what is out of sight is not laid out, and has no innerText.

  async answer(n = -1) {
    return (await this.answers().locator(".prose").allTextContents()).at(n).trim();
  }

  button(name, inside = this.page) {
    return inside.getByRole("button", { name, exact: true });
  }

  async settings() {
    await this.button("Settings").click();
    return this.page.getByRole("dialog", { name: "Settings" });
  }

  /** Files, dropped onto the page or pasted into the text. */
  async bring(how, files) {
    const given = files.map(({ name, type, data }) => ({ name, type, data: data.toString("base64") }));
    await this.page.evaluate(
      ([how, given]) => {
        const transfer = new DataTransfer();
        for (const { name, type, data } of given) {
          const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
          transfer.items.add(new File([bytes], name, { type }));
        }
        const target = document.querySelector("#write");
        if (how === "paste") {
          target.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }),
          );
        } else {
          for (const type of ["dragenter", "dragover", "drop"]) {
            target.dispatchEvent(
              new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }),
            );
          }
        }
      },
      [how, given],
    );
  }

  picture(name, colour = [200, 30, 30]) {
    return { name, type: "image/png", data: png(320, 200, colour) };
  }

  async download(act) {
    const [download] = await Promise.all([this.page.waitForEvent("download"), act()]);
    return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
  }

  // -- Looking

  async accessible(what) {
    // The source is evaluated by the browser's debugger, which no policy of the page forbids.
    await this.page.evaluate(readFileSync(this.axe, "utf8"));
    const found = await this.page.evaluate(() =>
      window.axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      }),
    );
    const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => `${n.html} ${n.failureSummary}`).join("\n  ")}`);
    assert.deepEqual(said, [], what);
    assert.ok(found.passes.length > 10, "axe looked at next to nothing");
  }

  /** What must hold after every case. */
  async check() {
    assert.deepEqual(this.errors, [], "errors of the page");
    assert.deepEqual(await this.page.evaluate(() => window.violations), [], "violations of the policy");
    const origin = new URL(this.address).origin;
    const elsewhere = [...this.addresses].filter((url) => !url.startsWith(origin) && !url.startsWith("blob:"));
    assert.deepEqual(elsewhere, [], "requests to elsewhere");
  }

  async close() {
    // What the page asks for in its last moment is not an error of the next case.
    for (const page of this.context.pages()) await page.unrouteAll({ behavior: "ignoreErrors" });
    await this.context.close();
  }
}

/** Runs in the page, before its own code. */
function watch() {
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
  });
}

/** Runs in the page: answers come from `window.feed`. */
function feed() {
  const real = window.fetch;
  const encoder = new TextEncoder();
  window.feed = {
    asked: [],
    controller: null,
    send(text) {
      this.controller.enqueue(encoder.encode(text));
    },
    end(text) {
      this.send(text);
      this.controller.close();
      this.controller = null;
    },
  };
  window.fetch = (input, init) => {
    if (!String(input).endsWith("/v1/chat/completions")) return real(input, init);
    window.feed.asked.push(JSON.parse(init.body));
    const body = new ReadableStream({
      start(controller) {
        window.feed.controller = controller;
        init.signal.addEventListener("abort", () => {
          window.feed.controller = null;
          controller.error(init.signal.reason);
        });
      },
    });
    return Promise.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
  };
}

// -- Chunks of recordings

export function delta(content, cactus) {
  return { choices: [{ index: 0, delta: { content } }], ...(cactus ? { cactus } : {}) };
}

export function thought(text) {
  return { choices: [{ index: 0, delta: { reasoning_content: text } }] };
}

export function tool(use) {
  return { choices: [{ index: 0, delta: {} }], cactus: { tool: use } };
}

export function last(cactus = {}) {
  return {
    choices: [{ index: 0, delta: {}, finish_reason: "stop" }],
    cactus: {
      confidence: null,
      prompt_tokens: 120,
      cached_tokens: 96,
      context_length: 2048,
      prefill_tps: 200,
      decode_tps: 18.3,
      time_to_first_token_ms: 410,
      citations: [],
      reading: null,
      call_ids: [],
      ...cactus,
    },
  };
}

export function usage(tokens = 42) {
  return { choices: [], usage: { prompt_tokens: 120, completion_tokens: tokens, total_tokens: 120 + tokens } };
}

/** The connection ends behind these. */
export function cut(...chunks) {
  return Object.assign(chunks, { cut: true });
}

/** A whole answer. */
export function said(text, cactus) {
  return [...text.match(/[\s\S]{1,40}/gu).map((part) => delta(part)), last(cactus), usage()];
}

function events(chunks, done = true) {
  const text = chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
  return done ? `${text}data: [DONE]\n\n` : text;
}
