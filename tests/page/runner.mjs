// Runs cases in one Chromium. A line on stdin names a case; a line on stdout says how it went.
//
// node runner.mjs PAGE CHROMIUM ADDRESS WAV: the folder of the page's sources, the browser, where the
// server listens, and the sound of the browser's microphone.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { cases } from "./case.mjs";
import { Stage } from "./stage.mjs";

const [folder, executablePath, address, wav] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { chromium } = require("playwright-core");

for (const name of ["talk", "text", "hostile", "kept", "windows", "looks", "senses", "server", "real"]) {
  await import(`./cases/${name}.mjs`);
}

const start = {
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-audio-capture=${wav}`,
  ],
};
const browser = await chromium.launch(start);

/** A context of the one browser, or with `alone` a browser of its own, which keeps what it is told. */
function context({ alone, ...options }) {
  return alone ? chromium.launchPersistentContext("", { ...start, ...options }) : browser.newContext(options);
}

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
say({ ready: [...cases.keys()] });

for await (const name of createInterface({ input: process.stdin })) {
  const one = cases.get(name);
  if (!one) {
    say({ error: `there is no case "${name}"` });
    continue;
  }
  const stage = await Stage.open(context, address, require.resolve("axe-core/axe.min.js"), one.options);
  try {
    await one.run(stage);
    await stage.check();
    say({ done: name });
  } catch (error) {
    const shot = process.env.CACTUS_PAGE_SHOTS;
    if (shot) await stage.page.screenshot({ path: `${shot}/failed.png` }).catch(() => undefined);
    say({ error: String(error.stack ?? error) });
  } finally {
    await stage.close();
  }
}
await browser.close();
