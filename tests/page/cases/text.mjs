// What an answer looks like: Markdown, code, tables, mathematics, reasoning, tools, confidence.

import assert from "node:assert/strict";

import { page } from "../case.mjs";
import { delta, last, said, thought, tool, usage } from "../stage.mjs";

const CODE = 'def hello(name):\n    return f"Hello {name}"  # a comment\n';

page("code has colours, a name and a button that copies it", async (t) => {
  await t.record(said("Look:\n\n```python\n" + CODE + "```\n\nand `inline`."));
  await t.go();
  await t.chat("Code");
  const code = t.page.locator("figure.code");
  assert.equal(await code.locator("figcaption span").textContent(), "python");
  await code.locator(".hljs-keyword").first().waitFor();
  assert.equal(await code.locator("pre").evaluate((pre) => pre.textContent), CODE);
  await t.button("Copy", code).click();
  await t.button("Copied", code).waitFor();
  assert.equal(await t.page.evaluate(() => navigator.clipboard.readText()), CODE);
});

page("tables, lists and quotes are set as such", async (t) => {
  await t.record(said("| a | b |\n|---|--:|\n| 1 | 2 |\n\n1. one\n2. two\n\n> said\n\n### Head\n"));
  await t.go();
  await t.chat("Table");
  assert.deepEqual(await t.page.locator(".prose td").allTextContents(), ["1", "2"]);
  const right = t.page.locator(".prose td").nth(1);
  assert.equal(await right.evaluate((cell) => getComputedStyle(cell).textAlign), "right");
  assert.equal(await t.page.locator(".prose ol > li").count(), 2);
  assert.equal(await t.page.locator(".prose blockquote p").textContent(), "said");
  assert.equal(await t.page.locator(".prose h4").textContent(), "Head");
});

page("formulas are drawn, and prices are not formulas", async (t) => {
  await t.record(said("It is $E = mc^2$ and\n\n$$\n\\int_0^1 x^2\\,dx = \\frac{1}{3}\n$$\n\nfor $5 or $6, not \\(\\bad{\\) or \\(a\\)."));
  await t.go();
  await t.chat("Formulas");
  await t.page.locator(".math.drawn .katex").nth(2).waitFor();
  assert.equal(await t.page.locator(".math.drawn").count(), 3);
  assert.equal(await t.page.locator(".math.drawn .katex-display").count(), 1);
  assert.equal(await t.page.locator(".math.broken").textContent(), "\\bad{");
  assert.match(await t.answer(), /for \$5 or \$6, not/);
});

page("an answer looks the same while it comes, at its end and after a reload", async (t) => {
  const text = "# Head\n\nSome *words* and\n\n- one\n- two\n\n```js\nlet a = 1;\n```\n\n| a |\n|---|\n| 1 |\n\nThe $x$ end.";
  const feed = await t.live();
  const html = () =>
    t.page.locator(".prose").evaluate((host) => {
      const copy = host.cloneNode(true);
      // Colours and formulas come when they are seen.
      for (const one of copy.querySelectorAll("code, .math")) one.replaceChildren(one.textContent);
      for (const one of copy.querySelectorAll(".math")) one.remove();
      for (const one of copy.querySelectorAll(".block")) one.removeAttribute("data-end");
      return copy.innerHTML;
    });
  await t.go();
  await t.ask("All");
  for (const char of text) await feed.send(delta(char));
  await t.text("end.").waitFor();
  const coming = await html();
  await feed.end();
  await t.ended();
  assert.equal(await html(), coming);
  await t.reload();
  await t.text("end.").waitFor();
  assert.equal(await html(), coming);
});

page("finished blocks are not made again when more comes", async (t) => {
  const feed = await t.live();
  await t.go();
  await t.ask("Blocks");
  await feed.send(delta("First.\n\nSecond.\n\nThird\nan"));
  await t.text("Third").waitFor();
  await t.page.evaluate(() => {
    window.kept = [...document.querySelectorAll(".block")].slice(0, 2);
  });
  await feed.send(delta("d more.\n\nFourth."));
  await t.text("Fourth.").waitFor();
  await feed.end();
  await t.ended();
  const same = await t.page.evaluate(() => {
    const blocks = [...document.querySelectorAll(".block")];
    return window.kept.map((block, i) => block === blocks[i]);
  });
  assert.deepEqual(same, [true, true]);
});

page("reasoning is folded, and opens", async (t) => {
  await t.record([thought("Let me see. "), thought("Yes."), delta("It is 4."), last(), usage()]);
  await t.go();
  await t.chat("2 + 2?");
  const fold = t.page.locator("details.reasoning");
  assert.equal(await fold.evaluate((one) => one.open), false);
  assert.match(await fold.locator("summary").textContent(), /^Thought for \d+ seconds?$/);
  await fold.locator("summary").click();
  assert.equal(await fold.locator(".thought").textContent(), "Let me see. Yes.");
  assert.equal(await t.answer(), "It is 4.");
});

page("tools are shown as they run", async (t) => {
  await t.status((status) => {
    status.tools = [{ name: "weather", description: "The weather of a place" }];
  });
  const feed = await t.live();
  await t.go();
  await t.button("Tools").click();
  await t.ask("Weather?");
  const use = { id: "1", name: "weather", arguments: { place: "Rome" }, state: "running", result: null };
  await feed.send(tool(use));
  const shown = t.page.locator(".use");
  await shown.waitFor();
  assert.match(await shown.locator("summary").textContent(), /weather\s*runs/);
  await feed.send(tool({ ...use, state: "done", result: "Sunny, 21 degrees" }), delta("It is sunny."));
  await t.page.locator(".use.done").waitFor();
  await shown.locator("summary").click();
  assert.match(await shown.locator("dl").textContent(), /"place": "Rome"[\s\S]*Sunny, 21 degrees/);
  await feed.end();
  await t.ended();
  assert.equal(await t.page.evaluate(() => window.feed.asked[0].cactus.tools), true);
});

page("what the model was unsure of is shaded, through Markdown", async (t) => {
  const tokens = [["The ", 0.99], ["**city", 0.6], ["** of ", 0.95], ["`Rome`", 0.3], [" is ", 0.9], ["old", 0.05], [".", 1]];
  await t.record([
    ...tokens.map(([text, value]) => delta(text, { confidences: [[text, value]] })),
    last({ confidence: 0.7 }),
    usage(7),
  ]);
  await t.go();
  const dialog = await t.settings();
  await dialog.getByLabel("Shade what the model was unsure of").check();
  await t.page.keyboard.press("Escape");
  await t.chat("Rome?");
  assert.equal(t.asked[0].cactus.confidences, true);
  const shaded = () =>
    t.page.evaluate(() =>
      [1, 2, 3].map((level) => [...(CSS.highlights.get(`unsure-${level}`) ?? [])].map(String).join("|")),
    );
  assert.deepEqual(await shaded(), ["city", "Rome", "old"]);
  assert.match(await t.page.locator(".outcome").textContent(), /70 % sure · 2 of 7 tokens below 50 %/);
  await t.settings();
  await dialog.getByLabel("Shade what the model was unsure of").uncheck();
  assert.deepEqual(await shaded(), ["", "", ""]);
});

page("shading finds its words where tokens come later than their text, and around tools", async (t) => {
  const use = { id: "1", name: "clock", arguments: {}, state: "running", result: null };
  await t.record([
    delta("The ci"),
    delta("ty is", { confidences: [["The", 0.9], [" city", 0.3]] }),
    delta(" far.", { confidences: [[" is", 0.9], [" far", 0.1]] }),
    { choices: [{ index: 0, delta: {} }], cactus: { tool: use, confidences: [[".", 0.9]] } },
    tool({ ...use, state: "done", result: "12:00" }),
    delta(" \uFFFD Noon", { confidences: [[" \uFFFD\uFFFD\uFFFD", 0.9]] }),
    delta(" it is.", { confidences: [[" Noon", 0.1], [" it is.", 0.9]] }),
    last(),
    usage(8),
  ]);
  await t.go();
  const dialog = await t.settings();
  await dialog.getByLabel("Shade what the model was unsure of").check();
  await t.page.keyboard.press("Escape");
  await t.chat("When?");
  const shaded = await t.page.evaluate(() => [...CSS.highlights.get("unsure-2"), ...CSS.highlights.get("unsure-3")].map(String));
  assert.deepEqual(shaded, [" city", " far", " Noon"]);
});

page("how full the context is, and what was remembered, is shown", async (t) => {
  await t.record(said("Short.", { prompt_tokens: 982, cached_tokens: 900, context_length: 2048 }));
  await t.go();
  await t.chat("How full?");
  await t.button("Context: 50 % used").click();
  const card = await t.page.locator(".card").textContent();
  assert.match(card, /takes 1,024 of the model's 2,048 tokens/);
  assert.match(card, /were 982 tokens. 900 of them were remembered/);
});
