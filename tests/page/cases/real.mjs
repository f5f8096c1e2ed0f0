// The page and the server together, nothing recorded: what a random model says has no meaning, but
// pictures, sound and passages go through both.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";

import { page } from "../case.mjs";
import { said } from "../stage.mjs";

page("a model that sees answers about a picture", async (t) => {
  await t.go();
  await t.page.locator(".model select").selectOption("tiny-vl");
  await t.bring("drop", [t.picture("red.png")]);
  await t.page.locator(".composer .thumb").waitFor();
  await t.chat("What is this?");
  assert.equal(await t.page.locator(".failure").count(), 0);
  assert.notEqual((await t.answer()).trim(), "");
  assert.equal(await t.answers().locator(".who").textContent(), "tiny-vl");
});

page("the server hears what one says", async (t) => {
  const came = [];
  const gone = [];
  t.page.on("websocket", (socket) => {
    socket.on("framereceived", ({ payload }) => came.push(JSON.parse(payload).type));
    socket.on("framesent", ({ payload }) => gone.push(JSON.parse(payload).type));
  });
  await t.go();
  await t.button("Dictate").click();
  await t.until(() => came.includes("session.updated"));
  await t.until(() => gone.filter((type) => type === "input_audio_buffer.append").length >= 10); // a second of sound
  await t.button("Dictate").click();
  await t.page.waitForFunction(() => document.querySelector('[aria-label="Dictate"]').getAttribute("aria-pressed") === "false");
  assert.ok(!came.includes("error"), came.join(" "));
  assert.ok(came.some((type) => type.endsWith("transcription.completed")), came.join(" "));
  assert.equal(await t.page.locator(".notice p").count(), 0);
});

page("a recording that is dropped is transcribed", async (t) => {
  await t.go();
  const wav = Buffer.alloc(44 + 32_000);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(wav.length - 8, 4);
  wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) wav.writeUInt16LE(value, at);
  wav.writeUInt32LE(16_000, 24);
  wav.writeUInt32LE(32_000, 28);
  wav.write("data", 36);
  wav.writeUInt32LE(32_000, 40);
  for (let i = 0; i < 16_000; i++) wav.writeInt16LE(Math.round(9000 * Math.sin(i / 6)), 44 + 2 * i);
  const reply = t.page.waitForResponse(/audio\/transcriptions/);
  await t.bring("drop", [{ name: "memo.wav", type: "audio/wav", data: wav }]);
  const { text } = await (await reply).json();
  await t.page.waitForFunction((words) => document.querySelector("#write").value === words, text.trim());
  assert.equal(await t.page.getByText("was not transcribed").count(), 0);
});

page("documents of the server are read, and its passages open", async (t) => {
  await t.go();
  await t.button("Documents").click();
  await t.chat("May dogs come?");
  assert.equal(await t.page.locator(".failure").count(), 0);
  assert.match(await t.page.locator(".outcome").textContent(), /read \d/);

  // A random model cites nothing: a recorded answer names a passage that the server has.
  const id = Buffer.from(JSON.stringify(["rules.md", 9, 36])).toString("base64url");
  const citation = { text_start: 0, text_end: 4, source: "rules.md", place: "rules.md:3", passage_id: id, score: 1 };
  await t.record(said("Yes.", { citations: [citation] }));
  await t.chat("Sure?");
  await t.page.locator(".cite").click();
  await t.page.locator(".panel mark").getByText("Dogs are allowed on a lead.").waitFor();
  await t.page.locator(".panel .text").getByText("Cats are not.").waitFor();
});

page("confidences and tools of the server are understood", async (t) => {
  await t.go();
  const dialog = await t.settings();
  await dialog.getByLabel("Shade what the model was unsure of").check();
  await dialog.getByLabel("Most tokens").fill("30");
  await t.page.keyboard.press("Escape");
  await t.chat("What time is it?");
  assert.match(await t.page.locator(".outcome").textContent(), /\d+ of \d+ tokens? below 50 %/);
  const shaded = await t.page.evaluate(() => [1, 2, 3].reduce((sum, level) => sum + (CSS.highlights.get(`unsure-${level}`)?.size ?? 0), 0));
  assert.ok(shaded > 0, "a random model is unsure of something");
  await t.page.locator(".meter").waitFor();
  await t.button("New conversation").click();
  await t.button("Tools").click();
  await t.chat("And now?");
  assert.equal(await t.page.locator(".failure").count(), 0);
  assert.notEqual((await t.answer()).trim(), "");
});
