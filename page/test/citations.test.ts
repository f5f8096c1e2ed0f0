import assert from "node:assert/strict";
import { test } from "node:test";

import { marked, plain, sources, unitOffsets, type Citation } from "../src/core/citations.ts";
import { makeMarkdown } from "../src/text/markdown.ts";

function cite(start: number, end: number, id: string): Citation {
  return { text_start: start, text_end: end, source: `${id}.md`, place: `${id}.md:1`, passage_id: id, score: 0.5 };
}

test("a passage that is cited twice keeps its number", () => {
  const text = "One. Two. Three.";
  const all = [cite(10, 16, "a"), cite(0, 4, "a"), cite(5, 9, "b")];
  assert.equal(marked(text, all), "One.\uE0001\uE001 Two.\uE0002\uE001 Three.\uE0001\uE001");
  assert.deepEqual(sources(all).map(({ number, passage_id }) => [number, passage_id]), [[1, "a"], [2, "b"]]);
});

test("offsets count characters, not halves of them", () => {
  assert.deepEqual(unitOffsets("a😀b", [0, 1, 2, 3, 9]), [0, 1, 3, 4, 4]);
  assert.equal(marked("😀 x. y", [cite(0, 4, "a")]), "😀 x.\uE0001\uE001 y");
});

test("a mark stands behind the sentence, not before the next", () => {
  assert.equal(marked("One.\n\nTwo.", [cite(0, 6, "a")]), "One.\uE0001\uE001\n\nTwo.");
});

test("a text cannot bring marks along", () => {
  assert.equal(plain("a\uE0001\uE001b"), "a\uFFFD1\uFFFDb");
});

test("marks become buttons, inside emphasis and behind code", () => {
  const md = makeMarkdown();
  const button = '<button type="button" class="cite" data-cite="1">1</button>';
  assert.equal(md.render("a **b\uE0001\uE001** c"), `<p>a <strong>b${button}</strong> c</p>\n`);
  assert.equal(md.render("a `b\uE0001\uE001`"), `<p>a <code>b</code>${button}</p>\n`);
  assert.ok(!md.render("```\na\uE0001\uE001\n```").includes("\uE000"));
});
