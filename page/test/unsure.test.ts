import assert from "node:assert/strict";
import { test } from "node:test";

import { level, unsureTokens } from "../src/core/unsure.ts";

test("the less likely, the higher the level", () => {
  assert.deepEqual([1, 0.8, 0.79, 0.5, 0.49, 0.2, 0.19, 0].map(level), [0, 0, 1, 1, 2, 2, 3, 3]);
});

test("unsure tokens are found wherever a block begins and ends", () => {
  const ends = [3, 5, 9, 10];
  const values = [0.9, 0.6, 0.1, 0.3];
  const found = (from: number, to: number) =>
    unsureTokens(ends, values, from, to).map(({ start, end, level }) => [start, end, level]);
  assert.deepEqual(found(0, 10), [[3, 5, 1], [5, 9, 3], [9, 10, 2]]);
  assert.deepEqual(found(4, 6), [[3, 5, 1], [5, 9, 3]]);
  assert.deepEqual(found(5, 5), []);
  assert.deepEqual(found(0, 3), []);
  assert.deepEqual(unsureTokens([], [], 0, 10), []);
});
