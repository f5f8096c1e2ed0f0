import assert from "node:assert/strict";
import { test } from "node:test";

import { isTree, Tree, type Node } from "../src/core/tree.ts";

const node = (id: string, parent: string | null, created: number): Node => ({ id, parent, created });

// q1 ─ a1 ─ q2 ─ a3
//    └ a2      └ (none)
// q1' (an edit of q1)
const NODES = [
  node("q1", null, 1),
  node("a1", "q1", 2),
  node("a2", "q1", 3),
  node("q2", "a1", 4),
  node("a3", "q2", 5),
  node("q1'", null, 6),
];

const grown = () => new Tree(NODES);

const ids = (nodes: readonly Node[]) => nodes.map(({ id }) => id).join(" ");

test("without a choice the newest is shown", () => {
  assert.equal(ids(grown().path({})), "q1'");
});

test("a chosen message brings those above it, and the newest below it", () => {
  const tree = grown();
  assert.equal(ids(tree.path(tree.choose({}, "q1"))), "q1 a2");
  assert.equal(ids(tree.path(tree.choose({}, "a1"))), "q1 a1 q2 a3");
});

test("a branch that was left is found again as it was", () => {
  const tree = grown();
  let chosen = tree.choose({}, "a3");
  chosen = tree.choose(chosen, "q1'");
  assert.equal(ids(tree.path(chosen)), "q1'");
  chosen = tree.choose(chosen, "q1");
  assert.equal(ids(tree.path(chosen)), "q1 a1 q2 a3");
});

test("siblings are in the order in which they came", () => {
  assert.equal(ids(grown().siblings("a2")), "a1 a2");
  assert.equal(ids(grown().siblings("q1'")), "q1 q1'");
  assert.equal(ids(grown().siblings("unknown")), "");
});

test("the line to a message leaves its siblings out", () => {
  assert.equal(ids(grown().line("q2")), "q1 a1 q2");
  assert.equal(ids(grown().line(null)), "");
});

test("a message cannot be added twice", () => {
  assert.throws(() => grown().add(node("a1", "q1", 9)), /the message a1 is there already/);
});

test("what is no tree is seen", () => {
  assert.ok(isTree(NODES));
  assert.ok(!isTree([node("a", "b", 1)]), "a parent that is not there");
  assert.ok(!isTree([node("a", "b", 1), node("b", "a", 2)]), "a circle");
  assert.ok(!isTree([node("a", null, 1), node("a", null, 2)]), "the same id twice");
});
