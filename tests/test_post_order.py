"""Walks through what refers to other things."""

from __future__ import annotations

from cactus.post_order import post_order

NEEDS = {"a": "bc", "b": "d", "c": "d", "d": "", "e": "a"}


def test_each_thing_comes_once_and_behind_those_that_it_needs() -> None:
    assert list(post_order("ea", NEEDS.__getitem__)) == ["d", "b", "c", "a", "e"]


def test_a_circle_is_cut() -> None:
    assert list(post_order("a", {"a": "b", "b": "ca", "c": "a"}.__getitem__)) == ["c", "b", "a"]


def test_a_chain_may_be_longer_than_the_stack() -> None:
    found = list(post_order([0], lambda n: [n + 1] if n < 100_000 else []))
    assert found == list(range(100_000, -1, -1))


def test_things_that_cannot_be_hashed_have_a_key() -> None:
    inner: list[object] = []
    outer = [inner, inner]
    assert list(post_order([outer], lambda each: each, id)) == [inner, outer]
