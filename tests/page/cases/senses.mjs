// Pictures, the microphone, documents.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";

import { page } from "../case.mjs";
import { said } from "../stage.mjs";

/** The models of the server, able to see. */
function seeing(status) {
  for (const model of status.models) if (model.abilities.includes("chat")) model.abilities.push("see");
}

function sent(t) {
  const { content } = t.asked.at(-1).messages.at(-1);
  return content.map((part) => part.image_url?.url ?? part.text);
}

page("a dropped picture is shown small and sent as it is", async (t) => {
  await t.status(seeing);
  await t.record(said("It is red."));
  await t.go();
  const picture = t.picture("red.png");
  await t.bring("drop", [picture]);
  await t.page.locator(".composer .thumb").waitFor();
  await t.chat("What is this?");
  assert.deepEqual(sent(t), [`data:image/png;base64,${picture.data.toString("base64")}`, "What is this?"]);
  assert.equal(await t.page.locator(".composer .thumb").count(), 0);
  const canvas = t.questions().locator("canvas");
  await t.page.waitForFunction(() => document.querySelector(".message canvas").width > 1);
  const middle = await canvas.evaluate((c) => [...c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data]);
  assert.deepEqual(middle, [200, 30, 30, 255]);
  assert.ok((await canvas.boundingBox()).width <= 162);
  await t.button("Show red.png", t.questions()).click();
  await t.page.getByRole("dialog", { name: "red.png" }).locator("canvas").waitFor();
});

page("pasted and chosen pictures are sent in their order, without the one that was removed", async (t) => {
  await t.status(seeing);
  await t.record(said("Two."));
  await t.go();
  await t.bring("paste", [t.picture("one.png", [1, 0, 0]), t.picture("two.png", [2, 0, 0])]);
  await t.page.locator(".composer .thumb").nth(1).waitFor();
  const three = t.picture("three.png", [3, 0, 0]);
  await t.page.locator('.composer input[type="file"]').setInputFiles({
    name: three.name,
    mimeType: three.type,
    buffer: three.data,
  });
  await t.page.locator(".composer .thumb").nth(2).waitFor();
  await t.button("Remove two.png").click();
  await t.chat("Compare");
  assert.equal(sent(t).length, 3);
  assert.equal(sent(t)[1], `data:image/png;base64,${three.data.toString("base64")}`);
});

page("what cannot be sent is refused, and says why", async (t) => {
  await t.status((status) => {
    for (const model of status.models) model.abilities = model.abilities.filter((one) => one !== "see");
  });
  await t.go();
  await t.bring("drop", [t.picture("red.png")]);
  await t.page.locator(".notice").getByText("does not see pictures. Choose a model that does.").waitFor();
  await t.bring("drop", [{ name: "table.xlsx", type: "application/vnd.ms-excel", data: Buffer.from("x") }]);
  await t.page.getByText("table.xlsx was not added: only pictures and recordings can be.").waitFor();
  await t.page.unroute("**/cactus/status");
  await t.status(seeing);
  await t.go();
  await t.bring("drop", [{ name: "broken.png", type: "image/png", data: Buffer.from("no picture") }]);
  await t.page.getByText("broken.png is not a picture that this browser can read.").waitFor();
  assert.equal(await t.page.locator(".thumb").count(), 0);
});

page("a picture of another format is sent as PNG", async (t) => {
  await t.status(seeing);
  await t.record(said("Seen."));
  await t.go();
  const bmp = Buffer.alloc(58); // one pixel
  bmp.write("BM", 0);
  for (const [at, value] of [[2, 58], [10, 54], [14, 40], [18, 1], [22, 1]]) bmp.writeUInt32LE(value, at);
  bmp.writeUInt16LE(1, 26);
  bmp.writeUInt16LE(24, 28);
  await t.bring("drop", [{ name: "dot.bmp", type: "image/bmp", data: bmp }]);
  await t.page.locator(".composer .thumb").waitFor();
  await t.chat("What?");
  assert.match(sent(t)[0], /^data:image\/png;base64,iVBOR/);
});

page("one speaks, and the words stand in the text while one does", async (t) => {
  const got = [];
  let socket;
  await t.status((status) => {
    if (!status.models.some((model) => model.abilities.includes("transcribe"))) {
      status.models.push({ ...status.models[0], id: "listener", abilities: ["transcribe"], default: false });
    }
  });
  await t.page.routeWebSocket(/\/v1\/realtime/, (route) => {
    socket = route;
    route.onMessage((text) => got.push(JSON.parse(text)));
  });
  const say = (type, rest) =>
    socket.send(JSON.stringify({ type: `conversation.item.input_audio_transcription.${type}`, item_id: "1", ...rest }));
  await t.go();
  await t.write("Dear diary,");
  await t.button("Dictate").click();
  await t.page.waitForFunction(() => document.querySelector('[aria-label="Dictate"]').getAttribute("aria-pressed") === "true");
  await t.until(() => got.filter(({ type }) => type === "input_audio_buffer.append").length >= 5);
  say("delta", { delta: "to" });
  say("delta", { delta: "day I" });
  await t.page.waitForFunction(() => document.querySelector("#write").value === "Dear diary, today I");
  await t.button("Dictate").click();
  await t.until(() => got.some(({ type }) => type === "input_audio_buffer.commit"));
  socket.send(JSON.stringify({ type: "input_audio_buffer.committed", item_id: "1" }));
  say("completed", { transcript: "Today I slept." });
  await t.page.waitForFunction(() => document.querySelector("#write").value === "Dear diary, Today I slept.");
  await t.page.waitForFunction(() => document.querySelector('[aria-label="Dictate"]').getAttribute("aria-pressed") === "false");

  assert.equal(got[0].type, "session.update");
  assert.deepEqual(got[0].session.audio.input.format, { type: "audio/pcm", rate: 24000 });
  const audio = got.filter(({ type }) => type === "input_audio_buffer.append").map(({ audio }) => Buffer.from(audio, "base64"));
  assert.ok(audio.every(({ length }) => length === 4800), "a tenth of a second each");
  assert.ok(audio.some((block) => block.some((byte) => byte !== 0)), "only silence was sent");
  assert.equal(got.at(-1).type, "input_audio_buffer.commit");
});

page("documents and tools exclude each other, as in the server", async (t) => {
  await t.record(said("Yes."));
  await t.go();
  await t.button("Documents").click();
  await t.chat("One");
  await t.button("Tools").click();
  await t.chat("Two");
  await t.button("Documents").click();
  await t.chat("Three");
  await t.button("Documents").click();
  await t.chat("Four");
  const asked = t.asked.map(({ cactus: { documents, tools } }) => [documents, tools]);
  assert.deepEqual(asked, [[true, false], [false, true], [true, false], [false, false]]);
});

page("answers from documents carry numbers that open the passage", async (t) => {
  await t.status((status) => {
    status.documents = { name: "handbook", files: 12, passages: 300 };
  });
  const passages = {
    a: { source: "rules.md", place: "rules.md:12", before: "Before it. ", text: "Dogs are allowed.", after: " After it." },
    b: { source: "b.pdf", place: "b.pdf, page 3", before: "", text: "Cats are not.", after: "" },
  };
  await t.page.route("**/cactus/documents/*", (route) =>
    route.fulfill({ json: passages[new URL(route.request().url()).pathname.split("/").at(-1)] }),
  );
  const cite = (text_start, text_end, id, score) => ({
    text_start, text_end, source: passages[id].source, place: passages[id].place, passage_id: id, score,
  });
  const text = "Dogs 🐕 may come. Cats may not. **Dogs** may.";
  await t.record(
    said(text, { citations: [cite(0, 16, "a", 0.9), cite(17, 30, "b", 0.7), cite(31, 44, "a", 0.6)], reading: "2 of 300 chunks" }),
  );
  await t.go();
  await t.button("Documents").click();
  await t.chat("May pets come?");
  assert.equal(t.asked[0].cactus.documents, true);
  const block = t.page.locator(".prose .block");
  assert.equal(await block.evaluate((e) => e.textContent.trim()), "Dogs 🐕 may come.1 Cats may not.2 Dogs may.1");
  assert.match(await t.page.locator(".outcome").textContent(), /read 2 of 300 chunks/);
  await block.locator(".cite").nth(1).click();
  const panel = t.page.locator(".panel");
  assert.equal(await panel.locator("h2").textContent(), "b.pdf, page 3");
  assert.equal(await panel.locator("mark").textContent(), "Cats are not.");
  await t.page.keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
  assert.equal(await t.page.evaluate(() => document.activeElement.textContent), "2");
  await t.page.getByRole("group", { name: "Sources" }).getByRole("button", { name: "rules.md:12" }).click();
  await panel.getByText("Before it. Dogs are allowed. After it.").waitFor();
  await t.button("Close the source").click();
  await t.reload();
  await t.page.locator(".cite").nth(2).waitFor();
});
