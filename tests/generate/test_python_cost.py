"""What a token costs outside the native core, counted in calls of Python functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cactus.model import Model

QUESTION = "Tell me a story."


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model, threads=1) as model:
        yield model


def calls(work: Callable[[], object]) -> int:
    """How many Python functions `work` calls in this thread."""
    count = 0

    def tell(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(tell)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def calls_a_token(model: Model, work: Callable[[dict[str, Any]], object]) -> float:
    """How many more functions an answer calls for each token that it is longer."""

    def answer(tokens: int) -> Callable[[], object]:
        ends = {token: -100 for token in model._engine.end_tokens}
        plain = {"temperature": 1.0, "seed": 1, "logit_bias": ends, "max_tokens": tokens}
        return lambda: work(plain)

    calls(answer(20))  # what is done once
    return (calls(answer(60)) - calls(answer(20))) / 40


def test_a_streamed_token_calls_few_functions(model: Model) -> None:
    assert calls_a_token(model, lambda plain: list(model.stream(QUESTION, **plain))) < 110


def test_a_token_that_nobody_looks_at_calls_fewer(model: Model) -> None:
    assert calls_a_token(model, lambda plain: model.chat(QUESTION, **plain)) < 95


def test_a_token_of_many_together_calls_the_least(model: Model) -> None:
    questions = [f"{QUESTION} {n}" for n in range(16)]
    a_step = calls_a_token(model, lambda plain: model.chat_many(questions, **plain))
    assert a_step / 16 < 55
