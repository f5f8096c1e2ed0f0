"""A draft on native programs: whatever is asked for, every bit is that of the model alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cactus import Completion, Model
from cactus.engine.loading import load
from cactus.weights.convert import convert
from tests.conftest import write_tiny_checkpoint
from tests.generate.scripted import ORDER, WEATHER, FixedCosts, joined

ASKED: list[dict[str, Any]] = [
    {},
    {"temperature": 0.9, "seed": 3},
    {"temperature": 1.2, "top_p": 0.9, "top_k": 40, "logit_bias": {"65": -1}, "seed": 4},
    {"repetition_penalty": 1.2},
    {"schema": ORDER},
    {"schema": ORDER, "temperature": 0.8, "seed": 5},
    {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 60},
    {"stop": ["a", "e"]},
    {"logprobs": True, "top_logprobs": 3},
]


@pytest.fixture(scope="module", params=["alike", "other"])
def pair(
    request: pytest.FixtureRequest,
    tiny_checkpoint: Path,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Model, Model]]:
    """A model alone and with a draft, which has its own weights, or others."""
    folder = tmp_path_factory.mktemp("draft")
    source = tiny_checkpoint
    if request.param == "other":
        source = folder / "checkpoint"
        source.mkdir()
        write_tiny_checkpoint(source, seed=5)
    convert(source, folder / "small", "FP16")
    engine = replace(load(tiny_model, draft=folder / "small"), costs=FixedCosts(0.05))
    with Model(tiny_model) as alone, Model.from_engine(engine) as both:
        drafts = both._chat()._batch.draft
        assert drafts is not None
        drafts._ratio = 0.05  # as if it were a smaller one
        yield alone, both


def parts(done: Completion) -> tuple[Any, ...]:
    """All that a completion says, but for what it cost."""
    return (
        done.text,
        done.finish_reason,
        done.tokens,
        done.logprobs,
        done.confidences,
        done.token_logprobs,
        done.function_calls,
        done.scores,
    )


def turns(n: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{n} cups of tea, please"}]


@pytest.mark.parametrize("options", ASKED, ids=str)
def test_every_bit_is_that_of_the_model_alone(
    pair: tuple[Model, Model], options: dict[str, Any]
) -> None:
    alone, both = pair
    options = {"max_tokens": 80, **options}
    for n in range(3):
        assert parts(both.chat(turns(n), **options)) == parts(alone.chat(turns(n), **options))
    with both.stream(turns(7), **options) as stream:
        text = joined(event for event in stream if event.kind == "text")
        done = stream.completion
    assert parts(done) == parts(alone.chat(turns(7), **options)) and text == done.text


@pytest.mark.parametrize("options", [ASKED[0], ASKED[1]], ids=str)
def test_a_draft_alike_guesses_much_and_another_is_soon_asked_no_more(
    pair: tuple[Model, Model], request: pytest.FixtureRequest, options: dict[str, Any]
) -> None:
    _, both = pair
    options = {"max_tokens": 150, **options}
    found = [both.chat(turns(n), **options).metrics for n in range(10, 16)]
    drafted = sum(metrics.draft_tokens for metrics in found)
    right = sum(metrics.accepted_draft_tokens for metrics in found)
    if request.node.callspec.params["pair"] == "alike":
        assert drafted < 1500 and right > 300
    else:
        assert 10 < drafted < 300 and right < 100


@pytest.mark.parametrize("options", [ASKED[0], ASKED[1], ASKED[5]], ids=str)
def test_a_list_of_conversations_is_answered_as_one_by_one(
    pair: tuple[Model, Model], options: dict[str, Any]
) -> None:
    alone, both = pair
    options = {"max_tokens": 60, **options}
    asked = [turns(n) for n in range(20, 26)]
    for one, messages in zip(both.chat_many(asked, **options), asked, strict=True):
        assert isinstance(one, Completion)
        assert parts(one) == parts(alone.chat(messages, **options))


def test_turns_and_forks_of_a_conversation(pair: tuple[Model, Model]) -> None:
    alone, both = pair
    talks = [model.conversation("Be brief.") for model in (alone, both)]
    for n in range(3):
        first, second = (talk.chat(f"cup {n}", max_tokens=40) for talk in talks)
        assert parts(first) == parts(second)
    begun = talks[0].messages
    for n in range(3):  # from the same place, in different ways
        asked = [*begun, *turns(n)]
        first, second = (model.chat(asked, max_tokens=40) for model in (alone, both))
        assert parts(first) == parts(second)


def test_streams_side_by_side_some_of_which_are_given_up(pair: tuple[Model, Model]) -> None:
    alone, both = pair

    async def read(n: int) -> str:
        text = ""
        async with both.astream(turns(n), max_tokens=50) as stream:
            async for event in stream:
                text += event.text
                if n % 2 and len(text) > 10:
                    break
        return text

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*[read(n) for n in range(30, 36)])

    for n, text in zip(range(30, 36), asyncio.run(all_of_them()), strict=True):
        whole = alone.chat(turns(n), max_tokens=50).text
        assert whole.startswith(text) and (n % 2 or text == whole)
    both.reset()
    assert parts(both.chat(turns(40))) == parts(alone.chat(turns(40)))
