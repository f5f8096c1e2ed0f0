// Sizes, colours, keyboard, screen readers.

import assert from "node:assert/strict";

import { page } from "../case.mjs";
import { delta, last, said, thought, tool, usage } from "../stage.mjs";

const RICH =
  "# A head\n\nSome **words**, `code` and a [link](https://example.org/).\n\n```python\ndef f(x):\n    return x + 1  # one\n```\n\n" +
  "| a | b |\n|---|--:|\n| 1 | 2 |\n\n> quoted\n\n$$\nx^2 + y^2\n$$\n\n1. one\n2. two\n";

/** A conversation with all there can be, and the dialogs on top of it. */
async function everything(t) {
  await t.status((status) => {
    status.documents = { name: "notes", files: 3, passages: 40 };
    status.tools = [{ name: "clock", description: "The time" }];
    for (const model of status.models) if (model.abilities.includes("chat")) model.abilities.push("see", "think");
  });
  await t.page.route("**/cactus/documents/*", (route) =>
    route.fulfill({ json: { source: "a.md", place: "a.md:3", text: "the text", before: "before ", after: " after" } }),
  );
  const use = { id: "1", name: "clock", arguments: { zone: "UTC" }, state: "done", result: "12:00" };
  const citation = { text_start: 0, text_end: 8, source: "a.md", place: "a.md:3", passage_id: "p", score: 0.8 };
  await t.record(
    [thought("Hm."), tool(use), ...said(RICH, { citations: [citation], confidence: 0.8 })],
    said("Another."),
  );
  await t.go();
  await t.bring("drop", [t.picture("red.png")]);
  await t.page.locator(".composer .thumb").waitFor();
  await t.chat("Everything, please");
  await t.again("Another.");
  await t.button("Branch before").click();
  await t.page.locator(".math.drawn").waitFor();
  await t.page.locator(".hljs-keyword").first().waitFor();
}

async function accessible(t) {
  await t.go();
  await t.accessible("an empty conversation");
  await everything(t);
  for (const fold of await t.page.locator("summary").all()) await fold.click();
  await t.accessible("a conversation");
  await t.page.locator(".cite").click();
  await t.page.locator(".panel mark").waitFor();
  await t.accessible("a source");
  await t.page.keyboard.press("Escape");
  await t.settings();
  await t.page.getByLabel("Shade what the model was unsure of").check();
  await t.accessible("settings");
  await t.page.keyboard.press("Escape");
  await t.page.locator("h1").click();
  await t.page.keyboard.press("?");
  await t.page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await t.accessible("the table of keys");
  await t.page.keyboard.press("Escape");
  await t.button("More for “Everything, please”").click();
  await t.accessible("a menu");
  await t.page.keyboard.press("Escape");
  await t.questions().hover();
  await t.button("Edit", t.questions()).click();
  await t.accessible("an editor");
}

page("axe finds nothing wrong in light colours", accessible, { colorScheme: "light", reducedMotion: "reduce" });

page("axe finds nothing wrong in dark colours", accessible, { colorScheme: "dark", reducedMotion: "reduce" });

page(
  "axe finds nothing wrong on a phone",
  async (t) => {
    await everything(t);
    await t.accessible("a conversation");
    await t.button("Show the list").click();
    await t.accessible("the list");
  },
  { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, reducedMotion: "reduce" },
);

const WIDE = {
  "a table of 30 columns": `${"| a column ".repeat(30)}|\n${"|---".repeat(30)}|\n${"| and a value ".repeat(30)}|\n`,
  "long lines of code": `\`\`\`python\n${"f(x) + ".repeat(100)}1\n\`\`\`\n\n\`${"inline_".repeat(60)}\` ${"wordwithoutanend".repeat(30)}`,
  "a long formula": `$$\n${"x^2 + ".repeat(60)}1\n$$\n\n$${"y + ".repeat(80)}1$`,
};

page(
  "what is wide scrolls by itself, and not the page",
  async (t) => {
    const long = "a_tool_whose_name_is_longer_than_a_phone_is_wide_and_goes_on";
    const use = { id: "1", name: long, arguments: { [long]: long.repeat(4) }, state: "failed", result: long.repeat(4) };
    const ask = `${long.repeat(4)}?`;
    await t.record([tool(use), ...said("Done.")], ...Object.values(WIDE).map((text) => said(text)));
    await t.go();
    for (const what of ["a tool", ...Object.keys(WIDE)]) {
      await t.chat(ask);
      if (what === "a tool") await t.page.locator("summary").click();
      if (what === "a long formula") await t.page.locator(".math.drawn").nth(1).waitFor();
      const [page, thread, body] = await t.page.evaluate(() => {
        const thread = document.querySelector(".thread");
        const body = [...document.querySelectorAll(".message.assistant .body")].at(-1);
        return [document.documentElement.scrollWidth, thread.scrollWidth - thread.clientWidth, body.scrollWidth - body.clientWidth];
      });
      assert.deepEqual([page, thread, body], [390, 0, 0], what);
    }
    const scrolls = (selector) => t.page.locator(selector).evaluate((one) => one.scrollWidth > one.clientWidth + 100);
    assert.ok(await scrolls(".table"));
    assert.ok(await scrolls(".code pre"));
  },
  { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
);

page("texts that run from right to left do so, and code in them does not", async (t) => {
  const answer =
    "# كتابة\n\nعاصمة `Seine` باريس\n\n- أولى\n- ثانية\n\n> اقتباس\n\n| مدينة | عدد |\n|---|--:|\n| باريس | 2 |\n\n```python\nprint(1)\n```\n\nEnglish, $x$.";
  await t.record(said(answer));
  await t.go();
  await t.write("שלום");
  assert.equal(await t.page.locator("#write").evaluate((one) => getComputedStyle(one).direction), "rtl");
  await t.chat("שלום, מה?");
  const directions = (selector) =>
    t.page.locator(selector).evaluateAll((all) => all.map((one) => getComputedStyle(one).direction));
  assert.deepEqual(await directions(".asked, .row .title"), ["rtl", "rtl"]);
  assert.deepEqual(await directions(".prose .block"), ["rtl", "rtl", "rtl", "rtl", "rtl", "ltr", "ltr"]);
  assert.deepEqual(await directions(".prose code, .prose pre, .prose .math"), ["ltr", "ltr", "ltr", "ltr"]);
  // A list's marks stand to the right of its text, a table begins there.
  const right = (selector) => t.page.locator(selector).evaluate((one) => one.getBoundingClientRect().right);
  assert.ok((await right(".prose li >> nth=0")) < (await right(".prose ul")));
  assert.ok((await right(".prose td >> nth=0")) > (await right(".prose td >> nth=1")));
});

page(
  "on a phone nothing is wider than the window, and the list is a drawer",
  async (t) => {
    const fits = async (what) => {
      const wide = await t.page.evaluate(() => [
        document.documentElement.scrollWidth,
        document.querySelector(".thread").scrollWidth - document.querySelector(".thread").clientWidth,
      ]);
      assert.deepEqual(wide, [390, 0], what);
    };
    await everything(t);
    await fits("a conversation");
    assert.ok(!(await t.page.locator(".list").isVisible()));
    await t.button("Show the list").click();
    await t.page.getByRole("link", { name: "Everything, please" }).waitFor();
    await t.page.getByRole("link", { name: "Everything, please" }).click();
    assert.ok(!(await t.page.locator(".list").isVisible()));
    await t.settings();
    await fits("settings");
    const dialog = await t.page.getByRole("dialog").boundingBox();
    assert.ok(dialog.x >= 0 && dialog.x + dialog.width <= 390);
    await t.page.keyboard.press("Escape");
    for (const one of await t.page.locator(".bar > button").all()) {
      const { width, height } = await one.boundingBox();
      assert.ok(width >= 24 && height >= 24, "a button is too small for a finger");
    }
  },
  { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
);

page("the keyboard alone does everything", async (t) => {
  const press = (keys) => t.page.keyboard.press(keys);
  await t.record(said("One."), said("Two."), said("Three."));
  await t.go();
  assert.equal(await t.page.evaluate(() => document.activeElement.id), "write");
  await t.page.keyboard.type("First");
  await press("Shift+Enter");
  await t.page.keyboard.type("line two");
  await press("Enter");
  await t.text("One.").waitFor();
  await t.ended();
  assert.equal(t.asked[0].messages[0].content, "First\nline two");

  await press("Alt+ArrowUp"); // to the answer
  await press("r");
  await t.text("Two.").waitFor();
  await t.ended();
  await t.page.locator(".message.assistant:focus").waitFor();
  await press("ArrowLeft");
  await t.text("One.").waitFor();

  await t.page.locator("#write").focus();
  await press("ArrowUp"); // to the question
  await press("e");
  await t.page.keyboard.type(" and more");
  await press("Control+Enter");
  await t.text("Three.").waitFor();
  await t.ended();
  assert.deepEqual(await t.questions().locator(".asked").allTextContents(), ["First\nline two and more"]);

  await press("Control+,");
  await t.page.getByRole("dialog", { name: "Settings" }).waitFor();
  await press("Escape");
  await press("Alt+n");
  assert.equal(await t.questions().count(), 0);
  await press("Control+k");
  await t.page.keyboard.type("first");
  await t.page.locator(".row .excerpt").waitFor();
  await press("Tab");
  assert.equal(await t.page.evaluate(() => document.activeElement.closest(".row") !== null), true);
  await press("Enter");
  await t.text("Three.").waitFor();
  await press("Tab"); // its menu
  await press("Enter");
  await t.page.getByRole("menuitem", { name: "Rename" }).waitFor();
  await press("Enter");
  await t.page.keyboard.type("Renamed");
  await press("Enter");
  await t.page.getByRole("link", { name: "Renamed" }).waitFor();
});

page("Escape stops an answer", async (t) => {
  await t.coming("Long", "It goes on");
  await t.page.keyboard.press("Escape");
  await t.ended();
  assert.equal(await t.page.locator(".remark").textContent(), "Stopped.");
});

page("every stop of the Tab key can be seen", async (t) => {
  await everything(t);
  const seen = new Set();
  for (let i = 0; i < 60; i++) { // from wherever the focus is, past the end, and from the start
    await t.page.keyboard.press("Tab");
    const at = await t.page.evaluate(() => {
      const e = document.activeElement;
      if (e === document.body) return null;
      const style = getComputedStyle(e);
      const frame = e.closest(".composer, .search");
      const shown = style.outlineStyle !== "none" || (frame && e.matches("textarea, input"));
      return { html: e.outerHTML.slice(0, 120), shown, opacity: Number(style.opacity) };
    });
    if (!at) continue;
    assert.ok(at.shown, `no outline: ${at.html}`);
    seen.add(at.html);
  }
  assert.ok(seen.size > 15, `only ${seen.size} stops`);
});

page("a screen reader hears finished paragraphs, not each token", async (t) => {
  const feed = await t.live();
  await t.go();
  await t.page.evaluate(() => {
    window.heard = [];
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) for (const node of addedNodes) window.heard.push(node.textContent);
    }).observe(document.querySelector('[role="log"]'), { childList: true });
  });
  await t.ask("Read to me");
  for (const word of "The first paragraph.\n\nThe second ends.".split(/(?<= )/)) await feed.send(delta(word));
  await t.text("The second ends.").waitFor();
  await feed.end();
  await t.ended();
  const heard = await t.page.evaluate(() => window.heard);
  assert.deepEqual(heard.map((text) => text.trim()), ["The first paragraph.", "The second ends."]);
  assert.equal(await t.page.locator(".messages [aria-live]").count(), 0);
});

page(
  "colours follow the system, until one chooses",
  async (t) => {
    const paper = () => t.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await t.go();
    const dark = await paper();
    await t.page.emulateMedia({ colorScheme: "light" });
    const light = await paper();
    assert.notEqual(dark, light);
    const dialog = await t.settings();
    await dialog.getByLabel("Colours").selectOption("dark");
    assert.equal(await paper(), dark);
    await t.reload();
    await t.page.locator("#write").waitFor();
    assert.equal(await paper(), dark);
  },
  { colorScheme: "dark" },
);
