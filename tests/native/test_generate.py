"""Several steps in a row are the same as so many calls."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cactus.calls.stop_flag import StopFlag
from cactus.errors import InvalidRequest, ModelClosed
from cactus.model import Model
from cactus.native import Program, Row, Sampler

PROMPTS = ([5, 6, 7], [9], [20, 21, 22, 23, 24])
SAMPLED = {"temperature": 0.9, "top_k": 20, "repetition_penalty": 1.2, "seed": 7}


@pytest.fixture(scope="module")
def program(tiny_model: Path) -> Iterator[Program]:
    with Model(tiny_model, threads=1) as model:
        yield model._engine.tokens


def rows(program: Program, sampled: bool, **more: Any) -> list[Row]:
    """A row for each prompt, in a session of its own."""
    return [
        Row(program.session(), ids, sampler=Sampler(**SAMPLED) if sampled else None, **more)
        for ids in PROMPTS
    ]


def step_by_step(program: Program, given: list[Row], steps: int) -> list[list[Any]]:
    """The outputs of each row."""
    found: list[list[Any]] = [[] for _ in given]
    for _ in range(steps):
        outputs = program.step(given)
        for row, output, each in zip(given, outputs, found, strict=True):
            each.append(output)
            row.tokens = [output.token]
    return found


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("top", [0, 3])
def test_steps_in_a_row_choose_what_single_ones_do(
    program: Program, sampled: bool, top: int
) -> None:
    alone = step_by_step(program, rows(program, sampled, top_logprobs=top), 8)
    given = rows(program, sampled, top_logprobs=top)
    pending = program.prepare(given, steps=8)
    pending.run()
    assert pending.done and pending.made == 8
    assert pending.outputs() == [output for each in alone for output in each]
    assert [row.session.length for row in given] == [len(ids) + 7 for ids in PROMPTS]


def test_they_end_where_a_row_has_chosen_an_end(program: Program) -> None:
    alone = step_by_step(program, rows(program, True), 6)
    end = alone[1][3].token
    first = min(each.index(o) for each in alone for o in each if o.token == end)
    pending = program.prepare(rows(program, True), steps=6, ends=array("i", [end]))
    pending.run()
    assert pending.made == first + 1
    assert pending.outputs() == [output for each in alone for output in each[: first + 1]]


def test_they_end_where_a_row_is_stopped(program: Program) -> None:
    given = rows(program, False)
    given[1].stop = StopFlag()
    given[1].stop.set()
    pending = program.prepare(given, steps=6)
    pending.run()
    assert pending.made == 1
    assert len(pending.outputs()) == len(given)


def test_what_fails_after_the_first_step_is_met_again(tiny_model: Path) -> None:
    with Model(tiny_model, threads=1, context=16) as model:
        program = model._engine.tokens
        with program.session() as session:
            pending = program.prepare([Row(session, list(range(1, 13)))], steps=8)
            pending.run()
            assert pending.done and pending.made == 5  # the context is full
            assert session.length == 16
            assert all(math.isfinite(output.logprob) for output in pending.outputs())
            pending = program.prepare([Row(session, [1])], steps=8)
            with pytest.raises(InvalidRequest, match="context"):
                pending.run()
            assert not pending.done and session.length == 16


def test_rows_of_more_than_tokens_are_refused(program: Program) -> None:
    with program.session() as session:
        for outputs in ("all", "none", "first"):
            with pytest.raises(InvalidRequest, match="their last output"):
                program.prepare([Row(session, [1, 2], outputs)], steps=2).run()
    with pytest.raises(ModelClosed):
        program.prepare([Row(session, [1])], steps=2)
