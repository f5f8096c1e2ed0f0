// The server: what it forbids the page, its errors, its key, its models.

import assert from "node:assert/strict";

import { page } from "../case.mjs";
import { Gate } from "../gate.mjs";
import { cut, delta, last, said, usage } from "../stage.mjs";

function refuse(route, status, message, headers = {}) {
  return route.fulfill({ status, headers, json: { error: { message, type: "x", param: null, code: null } } });
}

page("the page lives with a policy that allows the server alone", async (t) => {
  const response = await t.page.goto(t.address);
  const policy = response.headers()["content-security-policy"];
  assert.match(policy, /default-src 'self'/);
  assert.match(policy, /require-trusted-types-for 'script'/);
  assert.doesNotMatch(policy, /unsafe|:|\*/); // no scheme either
  await t.page.locator("#write").waitFor();
  const tried = await t.page.evaluate(async () => {
    const told = new Promise((go) => document.addEventListener("securitypolicyviolation", go, { once: true }));
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      return "written";
    } catch (error) {
      await told;
      return [error.name, ...window.violations.splice(0)];
    }
  });
  assert.deepEqual(tried, ["TypeError", "require-trusted-types-for: trusted-types-sink Element innerHTML|<b>x</b>"]);
});

page("an error is told in plain words, and one can try again", async (t) => {
  let times = 0;
  await t.page.route("**/v1/chat/completions", (route) => {
    times++;
    if (times === 1) return refuse(route, 503, "The queue is full.", { "Retry-After": "7" });
    if (times === 2) return refuse(route, 400, "The prompt has 9,000 tokens; the context holds 2,048.");
    return route.continue();
  });
  await t.go();
  await t.ask("Hello");
  const failure = t.page.locator(".failure");
  await failure.waitFor();
  assert.match(await failure.textContent(), /The server is busy with others.[\s\S]*The queue is full.[\s\S]*in about 7 s/);
  await t.button("Try again", failure).click();
  await failure.getByText("The prompt has 9,000 tokens; the context holds 2,048.").waitFor();
  await t.reload();
  await failure.getByText("9,000 tokens").waitFor();
  await t.button("Try again", failure).click();
  await failure.waitFor({ state: "detached" });
  await t.ended();
  assert.notEqual((await t.answer()).trim(), "");
  assert.equal(await t.answers().count(), 1);
  assert.equal(await t.page.locator(".branches").count(), 0);
});

page("an answer that breaks off keeps what came", async (t) => {
  const chunks = [delta("As far as here"), { error: { message: "The model was unloaded.", type: "server_error" } }];
  await t.record(chunks, cut(delta("And here it is cut")), said("Whole."));
  await t.go();
  await t.chat("One");
  assert.equal(await t.answer(), "As far as here");
  const failure = t.page.locator(".failure");
  assert.match(await failure.textContent(), /The answer broke off.[\s\S]*The model was unloaded./);
  await t.chat("Two");
  assert.match(await failure.last().textContent(), /The connection ended before the answer did./);
  await t.button("Try again", failure.last()).click();
  await t.text("Whole.").waitFor();
});

page("a server that is away is said to be, until it is back", async (t) => {
  await t.go();
  await t.page.route("**/v1/chat/completions", (route) => route.abort("connectionrefused"));
  await t.page.route("**/cactus/status", (route) => route.abort("connectionrefused"));
  await t.ask("Anybody?");
  await t.page.locator(".failure").getByText("The server does not answer.").waitFor();
  await t.page.locator(".banner").getByText("The server does not answer.").waitFor();
  await t.page.unroute("**/v1/chat/completions");
  await t.page.unroute("**/cactus/status");
  await t.page.locator(".banner").waitFor({ state: "detached" }); // the page looks by itself
  await t.button("Try again", t.page.locator(".failure")).click();
  await t.page.locator(".failure").waitFor({ state: "detached" });
  await t.ended();
  assert.notEqual((await t.answer()).trim(), "");
});

page("a server that ends in the middle of an answer and is back goes on", async (t) => {
  const gate = await Gate.before(t.address);
  t.address = gate.address;
  await t.go();
  gate.until = /"content":"[^"][\s\S]*?\n\n/;
  await t.ask("Tell me everything");
  await t.page.waitForFunction(() => (document.querySelector(".prose")?.textContent ?? "") !== "");
  await gate.shut();
  const failure = t.page.locator(".failure");
  await failure.getByText("The connection ended before the answer did.").waitFor();
  const came = await t.answer();
  assert.notEqual(came, "");
  await t.page.locator(".banner").getByText("The server does not answer.").waitFor();
  await t.ask("Anybody?");
  await failure.getByText("The server does not answer.").waitFor();

  gate.until = null;
  await gate.open();
  await t.page.locator(".banner").waitFor({ state: "detached" });
  await t.button("Try again", failure.last()).click();
  await failure.nth(1).waitFor({ state: "detached" });
  await t.ended();
  assert.notEqual(await t.answer(), "");
  assert.equal(await t.answer(0), came);
  await gate.shut();
});

page("a status that cannot be read is asked for again when one says so", async (t) => {
  let broken = true;
  await t.page.route("**/cactus/status", (route) => (broken ? refuse(route, 500, "Out of order.") : route.continue()));
  await t.page.goto(t.address);
  await t.page.locator(".welcome").getByText("Something broke in the server. Out of order.").waitFor();
  broken = false;
  await t.button("Try again").click();
  await t.page.locator(".model select").waitFor();
});

page("without a model that chats the page says what to do, and sends nothing", async (t) => {
  await t.status((status) => {
    status.models = status.models.filter(({ abilities }) => !abilities.includes("chat"));
  });
  await t.record(said("Yes."));
  await t.page.goto(t.address);
  await t.page.locator(".welcome").getByText("The server has no model that can chat.").waitFor();
  await t.ask("Hello?");
  await t.drawn();
  assert.equal(await t.page.locator("#write").inputValue(), "Hello?");
  assert.ok(await t.button("Send").isDisabled());
  assert.equal(await t.questions().count(), 0);
});

page("what the server says is said once, with the field that it is about", async (t) => {
  let error = { message: "seed: expected an integer", param: "seed" };
  await t.page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 400, json: { error } }));
  await t.go();
  await t.chat("One");
  const detail = t.page.locator(".failure p:not(.title)");
  assert.equal(await detail.textContent(), "seed: expected an integer");
  error = { message: "Expected an integer.", param: "seed" };
  await t.button("Try again").click();
  await detail.getByText("Expected an integer. (It is about seed.)").waitFor();
});

page("where a key is needed it is asked for, and goes with every request", async (t) => {
  const keys = [];
  const guard = async (route) => {
    const given = route.request().headers()["authorization"];
    keys.push(given);
    if (given !== "Bearer open sesame") return refuse(route, 401, "A key is needed.");
    await route.fallback();
  };
  await t.record(said("You may enter."));
  await t.page.route("**/v1/**", guard);
  await t.page.route("**/cactus/**", guard);
  await t.page.goto(t.address);
  const dialog = t.page.getByRole("dialog", { name: "This server asks for a key" });
  await dialog.getByLabel("Key").fill("wrong");
  await t.page.keyboard.press("Enter");
  await dialog.getByText("The key was not the right one.").waitFor();
  await dialog.getByLabel("Key").fill("open sesame");
  await t.button("Use it", dialog).click();
  await t.page.locator(".model select").waitFor();
  await t.chat("Hello");
  assert.equal(await t.answer(), "You may enter.");
  assert.equal(keys.at(-1), "Bearer open sesame");
  await t.reload();
  await t.page.locator(".model select").waitFor();
  const kept = await t.page.evaluate(() => [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]);
  assert.doesNotMatch(kept[0], /sesame/, "a key must not outlive the window");
  assert.match(kept[1], /sesame/);
});

page("a key that is no longer valid is asked for in the middle, and the question is not lost", async (t) => {
  let valid = false;
  await t.go();
  await t.page.route("**/v1/chat/completions", (route) =>
    valid ? route.continue() : refuse(route, 401, "The key is not valid."),
  );
  await t.ask("Still there?");
  const dialog = t.page.getByRole("dialog", { name: "This server asks for a key" });
  await dialog.waitFor();
  valid = true;
  await dialog.getByLabel("Key").fill("new");
  await t.page.keyboard.press("Enter");
  await t.page.locator(".failure").waitFor({ state: "detached" });
  await t.ended();
  assert.notEqual((await t.answer()).trim(), "");
});

page("an answer that waited for a key goes on while another conversation is shown", async (t) => {
  let answer;
  const asked = new Promise((go) => (answer = go));
  await t.go();
  await t.page.route("**/v1/chat/completions", (route) =>
    route.request().headers()["authorization"] ? answer(route) : refuse(route, 401, "A key is needed."),
  );
  await t.ask("Something long");
  await t.page.getByRole("dialog", { name: "This server asks for a key" }).getByLabel("Key").fill("new");
  await t.page.keyboard.press("Enter");
  const route = await asked;
  await t.button("New conversation").click();
  await t.questions().waitFor({ state: "detached" });
  await t.page.getByRole("link", { name: "Something long" }).click();
  await t.answers().waitFor();
  assert.equal(await t.page.locator(".prose").getAttribute("aria-busy"), "true");
  await route.continue();
  await t.ended();
  assert.equal(await t.text("Stopped.").count(), 0);
  assert.equal(await t.page.locator(".failure").count(), 0);
  assert.notEqual((await t.answer()).trim(), "");
});

page("one changes the model, and each conversation keeps its own", async (t) => {
  await t.status((status) => {
    status.models.push({ ...status.models.find(({ abilities }) => abilities.includes("chat")), id: "second/model", default: false });
  });
  await t.record(said("Yes."));
  await t.go();
  const select = t.page.locator(".model select");
  const first = await select.inputValue();
  await t.chat("One");
  await t.button("New conversation").click();
  await select.selectOption("second/model");
  await t.chat("Two");
  assert.deepEqual(t.asked.map(({ model }) => model), [first, "second/model"]);
  assert.equal(await t.answers().locator(".who").textContent(), "model");
  await t.page.getByRole("link", { name: "One" }).click();
  await t.text("One").first().waitFor();
  assert.equal(await select.inputValue(), first);
  await t.page.getByRole("link", { name: "Two" }).click();
  await t.text("Two").first().waitFor();
  assert.equal(await select.inputValue(), "second/model");
});

page("an answer that ran out of tokens says so", async (t) => {
  const end = last();
  end.choices[0].finish_reason = "length";
  await t.record([delta("Cut he"), end, usage()]);
  await t.go();
  await t.chat("Long");
  await t.text("The answer ends here because it reached its limit of tokens").waitFor();
});
