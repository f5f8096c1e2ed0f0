"""Calls that meet the limit of the memory for keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cactus import Completion, Model
from cactus.engine.loading import load
from cactus.errors import InsufficientMemory
from cactus.native import Program

SHORT = [f"{n}: hello" for n in range(5)]
Limited = Callable[[int], Model]


@pytest.fixture
def limited(tiny_model: Path, closed_later: Callable[[Model], Model]) -> Limited:
    """Makes models whose sessions have so many pages together."""

    def make(pages: int) -> Model:
        engine = load(tiny_model, threads=1)
        page = engine.program.info.page_bytes
        engine.program.close()
        path = tiny_model / "model.safetensors"
        program = Program(engine.plan, path, threads=1, kv_bytes=pages * page)
        return closed_later(Model.from_engine(replace(engine, program=program)))

    return make


@pytest.fixture
def free(tiny_model: Path) -> Iterator[Model]:
    """A model without a limit."""
    with Model(tiny_model, threads=1) as model:
        yield model


def pages_of(model: Model) -> int:
    program = model._engine.program
    return int(program.kv_bytes // program.info.page_bytes)


def tokens(answers: list[Completion]) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in answers]


def test_what_a_chat_keeps_makes_room_for_many(limited: Limited, free: Model) -> None:
    model = limited(6)
    model.chat("x" * 300, max_tokens=20)
    assert pages_of(model) == 6
    want = tokens(free.chat_many(SHORT, max_tokens=20))
    assert tokens(model.chat_many(SHORT, max_tokens=20)) == want


def test_the_last_one_goes_on_without_what_others_would_share(
    limited: Limited, free: Model
) -> None:
    conversations = ["x" * 90 + end for end in "abc"]
    want = tokens(free.chat_many(conversations, max_tokens=40))
    model = limited(3)
    assert tokens(model.chat_many(conversations, max_tokens=40)) == want
    model.reset()
    assert pages_of(model) == 0


def test_a_chat_that_found_no_memory_keeps_none(limited: Limited, free: Model) -> None:
    model = limited(2)
    with pytest.raises(InsufficientMemory):
        model.chat("x" * 300)
    assert pages_of(model) == 0
    assert model.chat("hi", max_tokens=20).tokens == free.chat("hi", max_tokens=20).tokens
    with model.stream("hi", max_tokens=400) as stream, pytest.raises(InsufficientMemory):
        list(stream)
    assert pages_of(model) == 0
