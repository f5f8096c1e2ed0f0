// The built page is committed in the package, so that nobody needs node to install it. The same
// sources give the same bytes: no dates, no paths, names by content.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { defineConfig, type Plugin } from "vite";

/** KaTeX brings each font three times; every browser that runs this page reads WOFF2. */
const oneFontFormat: Plugin = {
  name: "one-font-format",
  enforce: "pre",
  transform(code, id) {
    if (!id.includes("katex.min.css")) return null;
    return code.replace(/,url\([^)]+\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)/g, "");
  },
};

/** The licenses of all that is built in, beside the page. */
const licenses: Plugin = {
  name: "licenses",
  generateBundle(_options, bundle) {
    const folders = new Set<string>();
    for (const one of Object.values(bundle)) {
      const files = one.type === "chunk" ? one.moduleIds : one.originalFileNames;
      for (const file of files) {
        const found = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file.replace(/^\0/, ""));
        if (found) folders.add(fileURLToPath(new URL(found[0], import.meta.url)));
      }
    }
    const texts = [...folders].map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      const file = ["LICENSE", "LICENSE.txt", "LICENSE-MIT.txt", "LICENSE.md"].find((each) =>
        existsSync(`${folder}/${each}`),
      );
      const text = file ? readFileSync(`${folder}/${file}`, "utf8").trim() : "";
      return `${name} ${version} (${license.replace(/[()]/g, "")})\n\n${text}\n`.trimEnd();
    });
    const source = `What the page of Cactus is built from\n\n${texts.sort().join(`\n\n${"-".repeat(72)}\n\n`)}\n`;
    this.emitFile({ type: "asset", fileName: "licenses.txt", source });
  },
};

export default defineConfig({
  base: "./",
  plugins: [oneFontFormat, licenses],
  build: {
    outDir: process.env["PAGE_OUT"] ?? fileURLToPath(new URL("../python/cactus/server/page", import.meta.url)),
    emptyOutDir: true,
    assetsInlineLimit: 0, // the page allows no data: addresses
    target: ["chrome123", "firefox121", "safari17.5"],
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 400,
  },
  worker: { format: "es" },
});
