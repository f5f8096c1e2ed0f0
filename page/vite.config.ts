// The built page is committed in the package, so that nobody needs node to install it. The same
// sources give the same bytes: no dates, no paths, names by content.

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

export default defineConfig({
  base: "./",
  plugins: [oneFontFormat],
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
