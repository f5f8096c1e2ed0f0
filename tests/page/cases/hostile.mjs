// Texts that would like to be programs stay texts, wherever they come from.

import assert from "node:assert/strict";

import { page } from "../case.mjs";
import { payloads } from "../payloads.mjs";
import { delta, last, said, thought, tool, usage } from "../stage.mjs";

/** Every element of the page that text should not have made, and whether anything ran. */
async function inert(t) {
  // A picture that is not there: those of the texts would have failed before it.
  await t.page.evaluate(() => new Promise((go) => Object.assign(new Image(), { onerror: go, src: "x" })));
  await t.drawn();
  for (const link of await t.page.locator(".prose a").all()) {
    const href = await link.getAttribute("href");
    assert.match(href ?? "", /^(https?:|mailto:)/, `a link to ${href}`);
    assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
  }
  const found = await t.page.evaluate(() => {
    const bad = "script, style, img, iframe, object, embed, base, meta, link, form, input, video, audio, template";
    const inside = [...document.querySelectorAll(".prose, .work, .asked, .list, .panel, .sources")];
    const handlers = inside.flatMap((part) =>
      [...part.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => /^on|^(srcdoc|formaction|xlink:href)$/i.test(a.name))),
    );
    const elements = inside.flatMap((part) => [...part.querySelectorAll(bad)].filter((e) => e.id !== "search"));
    return {
      hit: window.hit ?? null,
      elements: elements.map((e) => e.outerHTML),
      handlers: handlers.map((e) => e.outerHTML),
      app: document.querySelector("#app")?.tagName,
    };
  });
  assert.deepEqual(found, { hit: null, elements: [], handlers: [], app: "DIV" });
}

page("sixty hostile answers are inert", async (t) => {
  assert.equal(payloads.length, 60);
  await t.record(...payloads.map((text) => said(text)));
  await t.go();
  for (const [i] of payloads.entries()) await t.chat(`Number ${i}`);
  assert.equal(await t.answers().count(), 60);
  await t.page.locator(".math.drawn, .math.broken").first().waitFor();
  await inert(t);
});

page("hostile answers are inert in every state of coming", async (t) => {
  const feed = await t.live();
  await t.go();
  await t.ask("Go");
  for (const text of payloads) {
    for (const part of text.match(/[\s\S]{1,5}/g)) await feed.send(delta(part));
    await feed.send(delta("\n\n"));
  }
  await feed.end(delta("The end."));
  await t.ended();
  await inert(t);
});

page("hostile questions, titles, reasoning and tools are inert", async (t) => {
  const all = payloads.join("\n");
  const use = { id: all, name: all, arguments: { [all]: all }, state: "done", result: all };
  await t.record([thought(all), tool(use), delta(all), last({ reading: all }), usage()]);
  await t.go();
  await t.chat(payloads[6] + all);
  for (const fold of await t.page.locator("summary").all()) await fold.click();
  await inert(t);
  await t.reload();
  await t.answers().waitFor();
  await inert(t);
  await t.page.locator("#search").fill("<img");
  await t.page.locator(".row .excerpt").waitFor();
  await inert(t);
});

page("hostile documents are inert", async (t) => {
  const all = payloads.join("\n");
  await t.status((status) => {
    status.documents = { name: payloads[6], files: 1, passages: 1 };
  });
  await t.page.route("**/cactus/documents/*", (route) =>
    route.fulfill({ json: { source: all, place: all, text: all, before: all, after: all } }),
  );
  const citation = { text_start: 0, text_end: 6, source: all, place: all, passage_id: "../../x?y#z", score: 1 };
  await t.record(said("Cited.", { citations: [citation] }));
  await t.go();
  await t.chat("Cite");
  await t.page.locator(".cite").click();
  await t.page.locator(".panel mark").waitFor();
  await inert(t);
  const asked = [...t.addresses].filter((url) => url.includes("/cactus/documents/"));
  assert.deepEqual(asked.map((url) => new URL(url).pathname + new URL(url).search), ["/cactus/documents/..%2F..%2Fx%3Fy%23z"]);
});

page("a text cannot bring citations or buttons of its own", async (t) => {
  await t.record(said("\uE0001\uE001 <button class=cite data-cite=1>1</button> <a class=copy>"));
  await t.go();
  await t.chat("Fake");
  assert.equal(await t.page.locator(".cite").count(), 0);
  assert.equal(await t.page.locator(".prose button").count(), 0);
});
