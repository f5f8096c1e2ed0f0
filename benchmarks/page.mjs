// How the page keeps up: frames while 20,000 tokens come, and how soon it is there.
//
// node benchmarks/page.mjs ADDRESS [TOKENS]: before a running `cactus serve`. Prints JSON.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { delta, last, Stage, usage } from "../tests/page/stage.mjs";

const [address, tokens = "20000"] = process.argv.slice(2);
const folder = fileURLToPath(new URL("../page", import.meta.url));
const require = createRequire(`${folder}/package.json`);
const { chromium } = require("playwright-core");

/** An answer of many kinds of blocks, in tokens of about four characters. */
function* answer(count) {
  const parts = [
    "## A part of the answer\n\nA paragraph with *some* emphasis, `code` and a [link](https://example.org/). ",
    "It goes on for a while, as answers do, and then comes to an end.\n\n",
    "- one thing\n- another thing, with **more** to it\n- a third\n\n",
    "```python\ndef area(radius):\n    # of a circle\n    return 3.14159 * radius ** 2\n```\n\n",
    "| name | value |\n|---|--:|\n| alpha | 1 |\n| beta | 2 |\n\n",
    "The area is $\\pi r^2$, and $$\\int_0^1 x\\,dx = \\tfrac12$$ follows.\n\n",
  ];
  for (let i = 0, at = 0; i < count; at++) {
    for (const [token] of parts[at % parts.length].matchAll(/[\s\S]{1,4}/g)) {
      yield token;
      if (++i >= count) return;
    }
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const open = (options) => browser.newContext(options);
const result = {};

{
  const stage = await Stage.open(open, address, "", {});
  await stage.go();
  await stage.page.reload();
  await stage.page.locator(".model select").waitFor();
  result.usable_ms = await stage.page.evaluate(() => performance.now());
  await stage.close();
}

const stage = await Stage.open(open, address, "", {});
const feed = await stage.live();
await stage.go();
const session = await stage.context.newCDPSession(stage.page);
await session.send("Performance.enable", { timeDomain: "threadTicks" });

/** Seconds of the page's thread, whatever else the machine does. */
async function spent() {
  const { metrics } = await session.send("Performance.getMetrics");
  const names = ["TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration"];
  return Object.fromEntries(metrics.filter(({ name }) => names.includes(name)).map(({ name, value }) => [name, value]));
}
await stage.ask("Everything");
await feed.send(delta("I begin.\n\n"));
const chunks = [...answer(Number(tokens))].map((token) => `data: ${JSON.stringify(delta(token))}\n\n`);
const before = await spent();
const stream = await stage.page.evaluate(async (chunks) => {
  const frames = [];
  let running = true;
  const frame = (now) => {
    frames.push(now);
    if (running) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  const began = performance.now();
  // 400 tokens a second: faster than any model here writes.
  for (let sent = 0; sent < chunks.length; ) {
    const due = Math.min(chunks.length, Math.ceil((performance.now() - began) * 0.4));
    while (sent < due) window.feed.send(chunks[sent++]);
    await new Promise((go) => setTimeout(go, 4));
  }
  running = false;
  const gaps = frames.slice(1).map((now, i) => now - frames[i]).sort((a, b) => a - b);
  const seconds = (frames.at(-1) - frames[0]) / 1000;
  return {
    seconds,
    frames_per_second: (frames.length - 1) / seconds,
    gap_p50_ms: gaps[Math.floor(gaps.length / 2)],
    gap_p99_ms: gaps[Math.floor(gaps.length * 0.99)],
    gap_longest_ms: gaps.at(-1),
  };
}, chunks);
const after = await spent();
stream.busy_seconds = Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));
await feed.end(last(), usage(chunks.length));
await stage.ended();
Object.assign(result, { tokens: chunks.length, stream });

const times = [];
for (let i = 0; i < 5; i++) {
  await stage.page.reload();
  await stage.page.locator(".message.last .outcome").waitFor();
  times.push(await stage.page.evaluate(() => performance.now()));
}
result.reload_ms = times.sort((a, b) => a - b)[2];
result.blocks = await stage.page.locator(".block").count();
process.stdout.write(`${JSON.stringify(result, null, 1)}\n`);
await browser.close();
