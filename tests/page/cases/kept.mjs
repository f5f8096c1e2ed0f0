// What the browser keeps: conversations, their names, files of them, settings.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";

import { page } from "../case.mjs";
import { said } from "../stage.mjs";

async function readFile(t, text) {
  const dialog = await t.settings();
  await dialog.locator('input[type="file"]').setInputFiles({
    name: "given.json",
    mimeType: "application/json",
    buffer: Buffer.from(text),
  });
}

page("a reload shows the same conversation and the same branch", async (t) => {
  await t.go();
  await t.chat("Kept?");
  const first = await t.answer();
  await t.button("Answer again").click();
  await t.button("Branch before").waitFor();
  await t.ended();
  await t.button("Branch before").click();
  await t.reload();
  await t.answers().waitFor();
  assert.equal(await t.answer(), first);
  assert.match(await t.page.locator(".branches").textContent(), /Branch 1 of 2/);
});

page("a conversation is found, renamed and deleted", async (t) => {
  await t.record(said("The capital is Tirana."), said("Nothing of interest."));
  await t.go();
  await t.chat("Albania");
  await t.button("New conversation").click();
  await t.chat("Weather");
  await t.page.locator("#search").fill("tirana capital");
  await t.page.locator(".row .excerpt").waitFor();
  assert.deepEqual(await t.page.locator(".row .title").allTextContents(), ["Albania"]);
  await t.page.locator("#search").fill("nowhere to be found");
  await t.page.getByText("Nothing has “nowhere to be found” in it.").waitFor();
  await t.page.locator("#search").fill("");
  await t.page.getByRole("link", { name: "Albania" }).waitFor();

  await t.page.getByRole("link", { name: "Albania" }).hover();
  await t.button("More for “Albania”").click();
  await t.page.getByRole("menuitem", { name: "Rename" }).click();
  await t.page.getByLabel("Name of the conversation").fill("A country");
  await t.page.keyboard.press("Enter");
  await t.page.getByRole("link", { name: "A country" }).waitFor(); // it is written by then
  await t.reload();
  await t.page.getByRole("link", { name: "A country" }).click();
  await t.text("The capital is Tirana.").waitFor();

  await t.button("More for “A country”").click();
  await t.page.getByRole("menuitem", { name: "Delete" }).click();
  await t.button("Cancel").click();
  assert.equal(await t.page.locator(".row").count(), 2);
  await t.button("More for “A country”").click();
  await t.page.getByRole("menuitem", { name: "Delete" }).click();
  await t.button("Delete").click();
  await t.page.getByRole("link", { name: "A country" }).waitFor({ state: "detached" });
  await t.reload();
  await t.page.getByRole("link", { name: "Weather" }).waitFor();
  assert.equal(await t.page.locator(".row").count(), 1);
});

page("five hundred conversations are listed, searched and opened", async (t) => {
  await t.go();
  const conversations = Array.from({ length: 500 }, (_, i) => ({
    conversation: { title: `Number ${i}`, created: i, updated: Date.now() - i * 4e7, chosen: {}, options: {} },
    messages: ["Question", "Answer", "And", "So"].map((word, j) => ({
      id: String(j),
      parent: j ? String(j - 1) : null,
      role: j % 2 ? "assistant" : "user",
      text: `${word} number ${i}. ${"And some more words. ".repeat(40)}`,
      created: j,
      state: "done",
    })),
    pictures: [],
  }));
  await readFile(t, JSON.stringify({ format: "cactus-conversations", version: 1, conversations }));
  await t.page.getByText("500 conversations were added.").waitFor();
  await t.reload();
  await t.page.locator(".row").nth(499).waitFor({ state: "attached" });
  await t.page.locator("#search").fill("answer 321.");
  await t.page.locator(".row .excerpt").getByText("Answer number 321.").waitFor();
  assert.deepEqual(await t.page.locator(".row .title").allTextContents(), ["Number 321"]);
  await t.page.getByRole("link", { name: "Number 321" }).click();
  await t.text("So number 321.").waitFor();
  await t.page.locator("#search").fill("");
  await t.page.getByRole("link", { name: "Number 499" }).click();
  await t.text("So number 499.").waitFor();
});

page("conversations saved as JSON come back whole, branches and pictures too", async (t) => {
  await t.status((status) => {
    for (const model of status.models) if (model.abilities.includes("chat")) model.abilities.push("see");
  });
  await t.record(said("One."), said("Two."));
  await t.go();
  await t.bring("drop", [t.picture("red.png")]);
  await t.page.locator(".composer .thumb").waitFor();
  await t.chat("Branches");
  await t.again("Two.");
  await t.button("Branch before").click();

  let dialog = await t.settings();
  const { name, text } = await t.download(() => t.button("Save all as JSON", dialog).click());
  assert.equal(name, "conversations.json");
  await t.button("Delete all", dialog).click();
  await t.page.getByRole("dialog", { name: "Delete all conversations?" }).getByRole("button", { name: "Delete all" }).click();
  await t.page.locator(".row").waitFor({ state: "detached" });
  await t.page.keyboard.press("Escape");

  await readFile(t, text);
  await t.page.getByText("One conversation was added.").waitFor();
  await t.page.keyboard.press("Escape");
  await t.page.getByRole("link", { name: "Branches" }).click();
  await t.text("One.").waitFor();
  assert.match(await t.page.locator(".branches").textContent(), /Branch 1 of 2/);
  await t.page.waitForFunction(() => (document.querySelector(".message .picture canvas")?.width ?? 0) > 1);

  // And once more, with other ids: what is said is the same.
  dialog = await t.settings();
  const again = await t.download(() => t.button("Save all as JSON", dialog).click());
  const plain = (file) => JSON.stringify(JSON.parse(file)).replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "id");
  assert.equal(plain(again.text).length, plain(text).length);
  assert.notEqual(again.text, text);
});

page("a conversation is saved as Markdown", async (t) => {
  await t.record(said("It is **four**."));
  await t.go();
  await t.chat("2 + 2?");
  await t.button("More for “2 + 2?”").click();
  const { name, text } = await t.download(() => t.page.getByRole("menuitem", { name: "Save as Markdown" }).click());
  assert.equal(name, "2 2.md");
  const model = await t.page.locator(".model select").inputValue();
  assert.equal(text, `# 2 + 2?\n\n## You\n\n2 + 2?\n\n## ${model}\n\nIt is **four**.\n`);
});

page("a file that holds no conversations is refused, and says why", async (t) => {
  const message = { id: "a", parent: null, role: "user", text: "x", created: 1, state: "done" };
  const file = (messages, version = 1) =>
    JSON.stringify({
      format: "cactus-conversations",
      version,
      conversations: [
        { conversation: { title: "x", created: 1, updated: 1, chosen: {} }, messages, pictures: [] },
      ],
    });
  const wrong = [
    ["no json", "The file is not JSON."],
    ["{}", "The file holds no conversations of this page."],
    [file([], 9), "The file has version 9; this page reads version 1."],
    [file([{ ...message, role: "root" }]), 'conversations[0].messages[0].role: expected "user" or "assistant", got "root".'],
    [file([{ ...message, text: 1 }]), "conversations[0].messages[0].text: expected text."],
    [file([{ ...message, tools: "x" }]), "conversations[0].messages[0].tools: expected a list."],
    [file([{ ...message, citations: [{}] }]), "conversations[0].messages[0].citations[0].text_start: expected a number."],
    [file([{ ...message, confidences: { ends: [null] } }]), "messages[0].confidences.ends[0]: expected a number."],
    [file([{ ...message, parent: "b" }]), "a message's parent is missing"],
    [file([{ ...message, pictures: [{ id: "p" }] }]), "the file does not hold this picture"],
  ];
  await t.go();
  for (const [text, said] of wrong) {
    await readFile(t, text);
    await t.page.locator(".notice").getByText(said).waitFor();
    await t.page.keyboard.press("Escape");
  }
  assert.equal(await t.page.locator(".row").count(), 0);
});

page("settings reach the model, and new conversations begin with them", async (t) => {
  await t.record(said("Yes."));
  await t.go();
  await t.chat("Plain");
  assert.deepEqual(Object.keys(t.asked[0]).sort(), ["cactus", "messages", "model", "stream", "stream_options"]);
  const dialog = await t.settings();
  await dialog.getByLabel("Instructions").fill("Be brief.");
  await dialog.getByLabel("Temperature").fill("0.3");
  await dialog.getByLabel("Top p").fill("0.9");
  await dialog.getByLabel("Most tokens").fill("50");
  await dialog.getByLabel("Seed").fill("7");
  await dialog.getByLabel("Thinking").selectOption("false");
  await dialog.getByLabel("Temperature").fill("9");
  await dialog.getByText("A number from 0 to 2.").waitFor();
  await t.page.keyboard.press("Escape");
  await t.reload();
  await t.answers().waitFor();
  await t.button("New conversation").click();
  await t.chat("Again");
  const { messages, temperature, top_p, max_completion_tokens, seed, cactus } = t.asked[1];
  assert.deepEqual(messages[0], { role: "system", content: "Be brief." });
  assert.deepEqual({ temperature, top_p, max_completion_tokens, seed }, { temperature: 0.3, top_p: 0.9, max_completion_tokens: 50, seed: 7 });
  assert.equal(cactus.thinking, false);
});
