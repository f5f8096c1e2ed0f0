// Several windows of the page at once, and browsers that keep little or nothing.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";

import { page } from "../case.mjs";
import { delta, said } from "../stage.mjs";

/** Does `act` in the window `there`. */
async function inWindow(t, there, act) {
  const here = t.page;
  t.page = there;
  await act();
  t.page = here;
}

page("an answer that one window writes is seen in the others", async (t) => {
  const feed = await t.coming("Something long", "One. ");
  const first = t.page;
  await t.window();
  await t.go();
  const second = t.page;
  await t.page.getByRole("link", { name: "Something long" }).click();
  await t.text("One.").waitFor();
  await t.page.locator('.prose[aria-busy="true"]').waitFor();
  await inWindow(t, first, () => feed.end(delta("Two.")));
  await t.text("One. Two.").waitFor();
  await t.ended();
  assert.equal(await t.text("Stopped.").count(), 0);

  // And what the second one asks is seen in the first.
  t.page = first;
  await t.ended();
  await inWindow(t, second, async () => {
    await t.ask("Again");
    await feed.end(delta("Once more."));
  });
  await t.text("Once more.").waitFor();
  assert.equal(await t.answers().count(), 2);
});

page("an answer whose window is closed is shown as stopped in the others", async (t) => {
  await t.coming("Something long", "One. ");
  const first = t.page;
  await t.window();
  await t.go();
  await t.page.getByRole("link", { name: "Something long" }).click();
  await t.page.locator('.prose[aria-busy="true"]').waitFor();
  await first.goto("about:blank");
  await t.text("Stopped.").waitFor();
  assert.equal(await t.answer(), "One.");
});

page("what one window renames and deletes is so in the others", async (t) => {
  await t.record(said("One."));
  await t.go();
  await t.chat("First");
  const first = t.page;
  await t.window();
  await t.go();
  await t.page.getByRole("link", { name: "First" }).click();
  await t.text("One.").waitFor();
  const second = t.page;

  t.page = first;
  await t.button("More for “First”").click();
  await t.page.getByRole("menuitem", { name: "Rename" }).click();
  await t.page.getByLabel("Name of the conversation").fill("Renamed");
  await t.page.keyboard.press("Enter");
  t.page = second;
  await t.page.locator("h1").getByText("Renamed").waitFor();
  await t.record(said("Two."));
  await t.chat("More"); // which writes the conversation's head
  t.page = first;
  await t.text("Two.").waitFor();
  assert.equal(await t.page.locator(".row .title").textContent(), "Renamed");

  await t.button("More for “Renamed”").click();
  await t.page.getByRole("menuitem", { name: "Delete" }).click();
  await t.button("Delete").click();
  t.page = second;
  await t.page.locator(".row").waitFor({ state: "detached" });
  await t.page.locator(".welcome").waitFor();
  assert.equal(await t.answers().count(), 0);
});

page("settings that one window changes hold in the others", async (t) => {
  await t.go();
  const first = t.page;
  await t.window();
  await t.go();
  let dialog = await t.settings();
  await dialog.getByLabel("Colours").selectOption("dark");
  await first.locator(':root[data-theme="dark"]').waitFor({ state: "attached" });
  t.page = first;
  dialog = await t.settings();
  await dialog.getByLabel("Shade what the model was unsure of").check(); // which writes all settings
  await t.page.reload();
  assert.equal(await t.page.locator(":root").getAttribute("data-theme"), "dark");
});

/** Goes from one conversation to another and back: both are there as long as the page is. */
async function lasting(t) {
  await t.record(said("One."), said("Two."), said("Three."));
  await t.go();
  const told = "This browser does not let the page keep conversations";
  await t.page.locator(".list").getByText(told).waitFor();
  await t.page.locator(".notice").getByText(told).waitFor();
  await t.button("Close", t.page.locator(".notice")).click();
  await t.chat("First");
  await t.button("New conversation").click();
  await t.chat("Second");
  await t.page.getByRole("link", { name: "First" }).click();
  await t.text("One.").waitFor();
  await t.chat("Third");
  assert.deepEqual(t.asked[2].messages.map(({ content }) => content), ["First", "One.", "Third"]);
  await t.page.locator("#search").fill("two");
  await t.page.locator(".row .excerpt").waitFor();
  assert.deepEqual(await t.page.locator(".row .title").allTextContents(), ["Second"]);
  await t.button("More for “Second”").click();
  await t.page.getByRole("menuitem", { name: "Delete" }).click();
  await t.button("Delete").click();
  await t.page.locator(".row").waitFor({ state: "detached" });
  await t.page.locator("#search").fill("");
  await t.page.getByRole("link", { name: "First" }).waitFor();
  assert.equal(await t.page.locator(".notice p").count(), 0);
}

page("without IndexedDB conversations last as long as the page", async (t) => {
  await t.context.addInitScript(() => {
    Object.defineProperty(window, "indexedDB", { value: undefined });
  });
  await lasting(t);
});

page("conversations that a newer page has kept stay as they are, and the page says so", async (t) => {
  const version = (number) =>
    t.page.evaluate(
      (number) =>
        new Promise((done, failed) => {
          const asked = indexedDB.open("cactus", number);
          asked.onsuccess = () => (asked.result.close(), done(asked.result.version));
          asked.onerror = () => failed(asked.error);
        }),
      number,
    );
  await t.record(said("One."));
  await t.go();
  await t.page.goto(new URL("live", t.address).href); // no window has the database open
  await version(2);
  await t.go();
  const told = "A newer version of this page has kept conversations";
  await t.page.locator(".list").getByText(told).waitFor();
  await t.page.locator(".notice").getByText(told).waitFor();
  await t.button("Close", t.page.locator(".notice")).click();
  await t.chat("First");
  assert.equal(await version(undefined), 2);
});

page("where a browser forbids all storage the page works, with a key, too", async (t) => {
  await t.context.addInitScript(() => {
    for (const name of ["indexedDB", "localStorage", "sessionStorage"]) {
      const get = () => {
        throw new DOMException("The user denied permission to access the database.", "SecurityError");
      };
      Object.defineProperty(window, name, { get });
    }
  });
  await lasting(t);
  await t.page.unroute("**/v1/chat/completions");
  await t.page.route("**/v1/chat/completions", (route) =>
    route.request().headers()["authorization"] === "Bearer sesame"
      ? route.continue()
      : route.fulfill({ status: 401, json: { error: { message: "A key is needed." } } }),
  );
  await t.ask("Fourth");
  await t.page.getByRole("dialog", { name: "This server asks for a key" }).getByLabel("Key").fill("sesame");
  await t.page.keyboard.press("Enter");
  await t.page.locator(".failure").waitFor({ state: "detached" });
  await t.ended();
  assert.notEqual(await t.answer(), "");
});

page(
  "where storage is full that is said, and what was written is not lost",
  async (t) => {
    await t.status((status) => {
      for (const model of status.models) if (model.abilities.includes("chat")) model.abilities.push("see");
    });
    await t.record(said("One."), said("Two."));
    const session = await t.context.newCDPSession(t.page);
    const { origin } = new URL(t.address);
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1 });
    await t.go();
    await t.chat("First");
    const notice = t.page.locator(".notice").getByText("This browser's storage is full: what is new is not kept.");
    await notice.waitFor();
    assert.equal(await t.answer(), "One.");
    await t.button("Close", t.page.locator(".notice")).click();
    const large = t.picture("large.png");
    large.data = Buffer.concat([large.data, randomBytes(6_000_000)]); // browsers read no further than its end
    await t.bring("drop", [large]);
    await t.page.locator(".composer .thumb").waitFor();
    await t.ask("What is this?");
    await notice.waitFor();
    await t.page.waitForFunction(() => document.querySelector("#write").value === "What is this?");
    assert.equal(await t.page.locator(".composer .thumb").count(), 1);
    assert.equal(await t.questions().count(), 1);
    await t.button("Remove large.png").click();
    await t.chat("What is this?");
    assert.equal(await t.answer(), "Two.");
  },
  { alone: true },
);
