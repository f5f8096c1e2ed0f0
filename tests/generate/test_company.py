"""The same bits in any company: requests of all kinds at once, and some that give up their memory.

What each is alone is asked of a model that has answered nothing else since it was reset.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from cactus.calls.stop_flag import StopFlag
from cactus.calls.tenant import acting_for
from cactus.engine.loading import load
from cactus.errors import InsufficientMemory
from cactus.generate import schedule
from cactus.generate.batch import Batch
from cactus.generate.lane import Lane
from cactus.model import Model
from cactus.types import Completion, Metrics
from cactus.weights.convert import convert
from tests.generate.scripted import ORDER, WEATHER, FixedCosts, lanes

SYSTEM = "You answer as a parrot would. "

KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.9, "seed": 3},
    {"temperature": 1.3, "top_p": 0.9, "top_k": 40, "seed": 4, "logit_bias": {"2": -100}},
    {"repetition_penalty": 1.3, "repetition_window": 20},
    {"presence_penalty": 0.7, "frequency_penalty": 0.4, "temperature": 1.0, "seed": 5},
    {"schema": ORDER},
    {"schema": ORDER, "temperature": 0.8, "seed": 6},
    {"tools": [WEATHER], "tool_choice": "required"},
    {"stop": ["a", "\u00e9"]},
    {"logprobs": True, "top_logprobs": 3},
    {"speculation": False},
]

PROMPTS = [
    "Hi",
    SYSTEM + "What is your name?",
    SYSTEM + "What was my question?",
    "ab" * 40,
    SYSTEM * 3,
    "The same again. The same again. The same again. The",
]


class Asked:
    """A request, and how it is asked."""

    def __init__(self, number: int) -> None:
        chance = random.Random(number)
        self.text = chance.choice(PROMPTS)
        self.options = {"max_tokens": chance.choice([5, 20, 40]), **KINDS[number % len(KINDS)]}
        if "tools" in self.options:  # they take most of the context
            self.text = f"Hi {number}"
        self.streamed = number % 2 == 0
        self.tenant = chance.choice([None, None, "one", "two"])

    def alone(self, model: Model) -> Completion:
        model.reset()
        return model.chat(self.text, **self.options)

    async def together(self, model: Model) -> tuple[str | None, Completion]:
        """The text of its stream, if it is one, and the answer."""
        with acting_for(self.tenant):
            if not self.streamed:
                return None, await model.achat(self.text, **self.options)
            async with model.astream(self.text, **self.options) as stream:
                text = "".join([event.text async for event in stream if event.kind == "text"])
            return text, stream.completion


def bits(answer: Completion) -> Completion:
    """All that does not depend on the company."""
    return replace(answer, metrics=Metrics(), call_ids=())


def asked(count: int) -> list[Asked]:
    return [Asked(number) for number in range(count)]


def compare(model: Model, requests: list[Asked], expected: list[Completion]) -> None:
    """All at once, twice: cold, and with what is remembered of the first time."""

    async def work() -> list[tuple[str | None, Completion]]:
        return list(await asyncio.gather(*(each.together(model) for each in requests)))

    model.reset()
    for _ in range(2):
        found = asyncio.run(work())
        for each, (text, answer), alone in zip(requests, found, expected, strict=True):
            assert bits(answer) == bits(alone), (each.text, each.options)
            assert text in (None, alone.text)
            cost, prompt = answer.metrics, alone.metrics
            assert cost.prefill_tokens + cost.cached_tokens == (
                prompt.prefill_tokens + prompt.cached_tokens
            )
        assert lanes(model) == []


@pytest.fixture(scope="module", params=["plain", "drafted"])
def model(
    request: pytest.FixtureRequest, tiny_model: Path, tiny_checkpoint: Path
) -> Iterator[Model]:
    """A tiny model, with a draft or without; guesses cost little, so that many are made."""
    draft = None
    if request.param == "drafted":
        draft = tiny_checkpoint.with_name("company-draft")
        if not draft.is_dir():
            convert(tiny_checkpoint, draft, "FP16")
    loaded = load(tiny_model, draft=draft, threads=1, cache_bytes=1 << 26)
    with Model.from_engine(replace(loaded, costs=FixedCosts(0.05))) as found:
        yield found


@pytest.fixture(scope="module")
def expected(model: Model) -> list[Completion]:
    return [each.alone(model) for each in asked(32)]


@pytest.mark.timeout(120)
def test_32_requests_at_once_have_the_bits_they_have_alone(
    model: Model, expected: list[Completion]
) -> None:
    compare(model, asked(32), expected)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(3))
def test_a_request_that_gives_its_memory_up_at_any_moment_keeps_its_bits(
    model: Model, expected: list[Completion], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    work, given_up = Batch._work, set[Lane]()

    def worked(batch: Batch) -> None:
        """A step, before which some that have read a part or written some must begin again."""
        batch._settle()
        for lane in batch._lanes:
            if lane.conversation is not None and not lane.over and chance.random() < 0.08:
                lane.suspend(batch.conversations)
                given_up.add(lane)
        work(batch)

    monkeypatch.setattr(Batch, "_work", worked)
    compare(model, asked(32), expected)
    assert len(given_up) > 16


@pytest.mark.timeout(120)
def test_prompts_whose_steps_are_broken_at_any_moment_keep_their_bits(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(1)
    program: Any = type(model._engine.program)
    prepare, timers = program.prepare, list[Timer]()

    def prepared(self: Any, rows: Any, *, stop: StopFlag | None = None, **options: Any) -> Any:
        if stop is not None and chance.random() < 0.7:
            timers.append(Timer(0.003 * chance.random(), stop.set))
            timers[-1].start()
        return prepare(self, rows, stop=stop, **options)

    async def work() -> list[Completion]:
        return list(await asyncio.gather(*(model.achat(text, max_tokens=9) for text in texts)))

    texts = [f"{n}{'a long question ' * 25}" for n in range(12)]
    monkeypatch.setattr(program, "prepare", prepared)
    monkeypatch.setattr(schedule, "SHORT_STEPS", 0)
    while not timers:  # until some read while nobody writes yet
        model.reset()
        found = asyncio.run(work())
    monkeypatch.undo()
    for text, answer in zip(texts, found, strict=True):
        model.reset()
        assert bits(answer) == bits(model.chat(text, max_tokens=9))


@pytest.mark.timeout(240)
def test_where_there_is_memory_for_a_few_all_are_answered(
    model: Model, expected: list[Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = model._chat()
    program: Any = type(model._engine.program)
    prepare, refused, most = program.prepare, 0, 700

    def prepared(self: Any, rows: Any, **options: Any) -> Any:
        nonlocal refused
        if self is model._engine.program:
            lent = [lane.conversation for lane in lanes(model) if lane.conversation is not None]
            held = sum(len(one.tokens) for one in (*lent, *chat._conversations.remembered))
            if held + sum(len(row.tokens) for row in rows) > most:
                refused += 1
                raise InsufficientMemory("no memory")
        return prepare(self, rows, **options)

    monkeypatch.setattr(program, "prepare", prepared)
    compare(model, asked(32), expected)
    assert refused > 32
