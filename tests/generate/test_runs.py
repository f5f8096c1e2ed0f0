"""Several steps in a row, without a look at what they gave: answers stay what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cactus.engine.costs import StepCosts
from cactus.generate.loop import GUESSING_RUN, Progress
from cactus.generate.schedule import RUN, Part, Schedule
from cactus.generate.speculation import Speculation
from cactus.model import Model

from .test_schedule import Known, lane

QUESTIONS = ["Tell me a story.", "And another one, please.", "Why?"]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model, threads=1, cache_bytes=1 << 26) as model:
        yield model


@pytest.fixture(params=[1, 8])
def longest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, model: Model) -> int:
    """How many steps in a row the program takes."""
    monkeypatch.setattr(type(model._engine.tokens), "longest_run", request.param)
    return int(request.param)


def options(model: Model, **more: Any) -> Any:
    ends = {token: -100.0 for token in model._engine.end_tokens}
    return {"max_tokens": 30, "temperature": 0.9, "seed": 3, "logit_bias": ends} | more


KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0, "logit_bias": None},
    {"max_tokens": 1},
    {"max_tokens": 5, "repetition_penalty": 1.3},
    {"top_logprobs": 3, "logprobs": True},
    {"stop": ["e", "\u00e9"]},
    {"confidence_threshold": 0.999},
    {"logit_bias": {2: 3.0}},
]
_found: dict[str, dict[int, Any]] = {}


@pytest.mark.parametrize("more", KINDS, ids=str)
def test_answers_do_not_depend_on_them(model: Model, longest: int, more: dict[str, Any]) -> None:
    model.reset()
    given = options(model, **more)
    alone = [model.chat(question, **given) for question in QUESTIONS]
    stream = model.stream(QUESTIONS[0], **given)
    streamed = "".join(event.text for event in stream if event.kind == "text")
    together = model.chat_many(QUESTIONS, **given)
    assert streamed == alone[0].text == stream.completion.text
    found = [(one.tokens, one.logprobs, one.text, one.finish_reason) for one in alone]
    assert found == [(o.tokens, o.logprobs, o.text, o.finish_reason) for o in together]  # type: ignore[union-attr]
    assert _found.setdefault(str(more), {}).setdefault(0, found) == found


def test_a_conversation_keeps_nothing_beyond_its_answer(model: Model, longest: int) -> None:
    text = model.chat(QUESTIONS[0], **options(model)).text
    for length in range(4, 14):  # one of them ends within a run
        model.reset()
        answer = model.chat(QUESTIONS[0], **options(model, stop=[text[:length]]))
        (kept,) = model._chat()._conversations.remembered
        assert len(kept.tokens) == kept.session.length
        assert len(kept.tokens) <= answer.metrics.prefill_tokens + len(answer.tokens)


def test_they_take_no_longer_than_a_reader_can_see() -> None:
    for seconds in (0.001, 0.008, 0.05):
        schedule = Schedule(256, 64, StepCosts())
        parts = writing(True, False)
        assert schedule.run(parts, 8) == 1  # nothing is known yet
        schedule.record(parts, 2, seconds)
        assert schedule.run(parts, 8) == max(1, min(8, int(RUN / seconds)))


def test_who_is_to_be_looked_at_between_two_steps_makes_single_ones() -> None:
    schedule = Schedule(256, 64, StepCosts())
    parts = writing(False, False)
    schedule.record(parts, 2, 0.001)
    assert schedule.run(parts, 8) == 8
    assert schedule.run([*parts, Part(parts[0].lane, 1, 2)], 8) == 1  # it guesses
    assert schedule.run([*parts, Part(parts[0].lane, 5)], 8) == 1  # it reads
    assert schedule.run(writing(False, False, most=3), 8) == 3


def writing(*streamed: bool, most: int = 8) -> Sequence[Part]:
    found = []
    for each in streamed:
        one: Known = lane(behind=1, streamed=each)
        one.run = lambda longest, eager: min(longest, most)
        found.append(Part(one, 1))  # type: ignore[arg-type]
    return found


def test_where_a_guess_is_likely_it_is_looked_for_before_each_step() -> None:
    def runs(speculation: Speculation | None) -> tuple[int, int]:
        progress = Progress(None, [1, 2], None, speculation)  # type: ignore[arg-type]
        return progress.run(8, True), progress.run(8, False)

    assert runs(Speculation([1, 2, 3, 4] * 5, 100)) == (1, GUESSING_RUN)
    assert runs(Speculation(range(20), 100)) == (GUESSING_RUN, GUESSING_RUN)
    assert runs(None) == (8, 8)
