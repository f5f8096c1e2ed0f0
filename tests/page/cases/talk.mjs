// Talking: ask, stop, ask again, edit, branch. The server answers, with a model of random weights.

import assert from "node:assert/strict";

import { page } from "../case.mjs";
import { delta, said } from "../stage.mjs";

page("a question is answered", async (t) => {
  await t.go();
  await t.chat("Hello there");
  assert.equal(await t.questions().count(), 1);
  assert.deepEqual(await t.questions().locator(".asked").allTextContents(), ["Hello there"]);
  assert.notEqual((await t.answer()).trim(), "");
  assert.match(await t.page.locator(".outcome").textContent(), /^\d[\d,]* tokens?, [\d.,]+ a second · first after/);
  assert.equal(await t.page.locator("h1").textContent(), "Hello there");
});

page("a conversation goes on with what was said", async (t) => {
  await t.record(said("First answer."), said("Second answer."));
  await t.go();
  await t.chat("One");
  await t.chat("Two");
  assert.deepEqual(t.asked[1].messages, [
    { role: "user", content: "One" },
    { role: "assistant", content: "First answer." },
    { role: "user", content: "Two" },
  ]);
  assert.equal(t.asked[1].stream, true);
});

page("an answer stops when one says so, and what came is kept", async (t) => {
  await t.coming("Tell me everything", "It began");
  await t.button("Stop").click();
  await t.ended();
  assert.equal(await t.page.evaluate(() => window.feed.controller), null, "the request goes on");
  assert.equal(await t.page.locator(".remark").textContent(), "Stopped.");
  await t.reload();
  await t.answers().waitFor();
  assert.equal(await t.answer(), "It began");
});

page("another answer is a branch beside the first", async (t) => {
  await t.record(said("The first."), said("The second."));
  await t.go();
  await t.chat("Which?");
  await t.again("The second.");
  assert.equal(await t.answers().count(), 1);
  assert.match(await t.page.locator(".branches").textContent(), /Branch 2 of 2/);
  await t.button("Branch before").click();
  assert.equal(await t.answer(), "The first.");
  assert.ok(await t.button("Branch before").isDisabled());
  await t.button("Branch behind").click();
  assert.equal(await t.answer(), "The second.");
});

page("an edited question begins a branch, and the old one stays", async (t) => {
  await t.go();
  await t.chat("Old question");
  const old = await t.answer();
  await t.chat("And more");
  await t.questions().first().hover();
  await t.button("Edit", t.questions().first()).click();
  await t.page.getByLabel("Question", { exact: true }).fill("New question");
  await t.button("Ask again").click();
  await t.questions().locator(".asked").getByText("New question").waitFor();
  await t.ended();
  assert.equal(await t.questions().count(), 1);
  assert.deepEqual(await t.questions().locator(".asked").allTextContents(), ["New question"]);
  await t.button("Branch before", t.questions()).click();
  assert.deepEqual(await t.questions().locator(".asked").allTextContents(), ["Old question", "And more"]);
  assert.equal(await t.answer(0), old);
});

page("an edited answer is what the model reads from then on", async (t) => {
  await t.record(said("It is blue."), said("As you say."));
  await t.go();
  await t.chat("Which colour?");
  await t.button("Edit", t.answers()).click();
  await t.page.getByLabel("Answer", { exact: true }).fill("It is *green*.");
  await t.button("Keep").click();
  assert.equal(await t.answer(), "It is green.");
  assert.match(await t.page.locator(".outcome").textContent(), /edited by you/);
  await t.chat("Sure?");
  assert.equal(t.asked[1].messages[1].content, "It is *green*.");
});

page("an answer goes on while another conversation is shown", async (t) => {
  const feed = await t.coming("Something long", "One. ");
  await t.button("New conversation").click();
  assert.equal(await t.answers().count(), 0);
  await feed.send(delta("Two. "));
  await feed.end(delta("Three."));
  await t.page.getByRole("link", { name: "Something long" }).click();
  await t.text("One. Two. Three.").waitFor();
  await t.ended();
});

page("an answer that is cut by leaving the page is kept as far as it came", async (t) => {
  await t.coming("Something long", "As far as this");
  await t.page.reload();
  await t.text("As far as this").waitFor();
  assert.equal(await t.page.locator(".remark").textContent(), "Stopped.");
});

page("the end stays in sight while an answer comes, unless one scrolls away", async (t) => {
  const feed = await t.live();
  const lines = (name) => delta(Array.from({ length: 60 }, (_, i) => `${name} ${i}\n\n`).join(""));
  const gap = () => t.page.locator(".thread").evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight);
  await t.go();
  await t.ask("Much");
  await feed.send(lines("early"));
  await t.text("early 59").waitFor();
  await t.page.waitForFunction(() => {
    const e = document.querySelector(".thread");
    return e.scrollHeight > 2 * e.clientHeight && e.scrollHeight - e.scrollTop - e.clientHeight < 5;
  });
  await t.page.locator(".thread").hover();
  await t.page.mouse.wheel(0, -600);
  await t.button("To the end").waitFor();
  await feed.send(lines("late"));
  await t.text("late 59").waitFor({ state: "attached" });
  await t.drawn();
  assert.ok((await gap()) > 300, "it was taken to the end against one's will");
  await t.button("To the end").click();
  await t.drawn();
  assert.ok((await gap()) < 5);
  await feed.end();
});
