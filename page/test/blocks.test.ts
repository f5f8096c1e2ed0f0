import assert from "node:assert/strict";
import { test } from "node:test";

import { BlockSplitter } from "../src/core/blocks.ts";
import { makeMarkdown } from "../src/text/markdown.ts";

const md = makeMarkdown();

const TEXTS: Record<string, string> = {
  paragraphs: "One *line*\nand another.\n\nA second paragraph with `code`.\n\nA third.",
  headings: "# One\n\ntext\n\nTwo\n===\n\n- item\n- \n\nThree\n---\ntext\n",
  lists: "Before:\n\n1. one\n\n   inside one\n2. two\n   - deep\n\n     - deeper\n\nAfter.\n- a\n- b\n\n\n- c\n",
  code: "Look:\n```python\nfor i in range(3):\n    print(i)\n\n# not a heading\n```\nand\n~~~\n```\n~~~\n    indented\n\n    code\n\nend",
  "code in a list": "- one\n  ```js\n  let a = 1;\n\n  let b;\n  ```\n- two\n\n```\nopen to the end",
  "a long fence": "````md\n```js\nx\n```\n````\nafter\n\n```inline``` code\n",
  tables: "Text\n| a | b |\n|---|--:|\n| 1 | 2 |\n| 3 | 4 |\n\nbehind\n| no | table |\n|----\n",
  quotes: "> said\nlazily\n>\n> > twice\n\nnot\n***\n> again",
  mathematics: "So $a^2$ and\n$$\n- x = 1\n+ y\n$$\nthen \\(b\\), $5 and $6.\n\n\\[\nz\n\\]\n\n$$ never\n\n- closed\n",
  references: "[a]: https://example.org/a\n\nSee [a] and [b].\n\n[b]: https://example.org/b\n\nAgain [b].",
  html: "<b>bold</b>\n\n<script>\n\nalert(1)\n</script>\n\n<!-- x -->\n",
  "odd line ends": "one\r\n\r\n```\r\ncode\r\n```\r\ntwo\r\n",
  empty: "",
  blank: "\n \n\n",
};

function whole(text: string): string {
  const splitter = new BlockSplitter(md);
  return splitter.advance(text, true).finished.map((block) => block.html).join("");
}

for (const [name, text] of Object.entries(TEXTS)) {
  if (name !== "references") {
    test(`${name}: the blocks together are what Markdown makes of the whole`, () => {
      assert.equal(whole(text), md.render(text));
    });
  }

  test(`${name}: cut anywhere, the finished blocks are the same`, () => {
    for (const step of [1, 2, 3, 7]) {
      const splitter = new BlockSplitter(md);
      let html = "";
      for (let end = step; end < text.length; end += step) {
        const progress = splitter.advance(text.slice(0, end), false);
        html += progress.finished.map((block) => block.html).join("");
      }
      html += splitter.advance(text, true).finished.map((block) => block.html).join("");
      assert.equal(html, whole(text), `in steps of ${step}`);
    }
  });
}

test("while a text grows, only its end is parsed again", () => {
  const paragraph = "Some words of a paragraph, and more of them.\n\n";
  const splitter = new BlockSplitter(md);
  let text = "";
  for (let i = 0; i < 200; i++) {
    text += paragraph;
    splitter.advance(text, false);
    assert.ok(text.length - splitter.settled <= 2 * paragraph.length);
  }
});

test("code that is still open is not parsed at all", () => {
  const splitter = new BlockSplitter(md);
  const open = splitter.advance("Text\n\n```py\na = 1\n", false);
  assert.deepEqual(open.code, { start: 6, language: "py", code: "a = 1\n" });
  assert.deepEqual(splitter.advance("Text\n\n```py\na = 1\n``", false).code?.code, "a = 1\n");
  const closed = splitter.advance("Text\n\n```py\na = 1\n```\n", false);
  assert.equal(closed.code, null);
  assert.equal(closed.finished.length, 1);
});

test("blocks say where they stand in the text", () => {
  const text = "# A\n\nb\n\n- c\n";
  const { finished } = new BlockSplitter(md).advance(text, true);
  assert.deepEqual(finished.map(({ start, end }) => text.slice(start, end)), ["# A\n\n", "b\n\n", "- c\n"]);
});
