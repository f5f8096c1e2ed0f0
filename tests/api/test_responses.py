"""The two responses of `cactus_complete`, field by field: an answer and a hand-off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus import (
    CactusModel,
    Model,
    api,
    cactus_complete,
    cactus_destroy,
    cactus_get_last_error,
    cactus_init,
)
from tests.generate.scripted import saying, scripted_engine

HELLO = [{"role": "user", "content": "Hello"}]
UNSURE = 5.0  # of ln 300 = 5.7 nats: a confidence of 0.12

ANSWER = """{
    "success": true,
    "error": null,
    "cloud_handoff": false,
    "response": "Hello! How can I help?",
    "function_calls": [],
    "confidence": 0.85,
    "time_to_first_token_ms": 45.2,
    "total_time_ms": 163.7,
    "prefill_tps": 619.5,
    "decode_tps": 168.4,
    "ram_usage_mb": 245.67,
    "prefill_tokens": 28,
    "decode_tokens": 50,
    "total_tokens": 78
}"""
HAND_OFF = """{
    "success": false,
    "error": null,
    "cloud_handoff": true,
    "response": null,
    "function_calls": [],
    "confidence": 0.18,
    "time_to_first_token_ms": 45.2,
    "total_time_ms": 45.2,
    "prefill_tps": 619.5,
    "decode_tps": 0.0,
    "ram_usage_mb": 245.67,
    "prefill_tokens": 28,
    "decode_tokens": 0,
    "total_tokens": 28
}"""
FIXED = ("success", "error", "cloud_handoff", "function_calls")
"""Fields whose values are those of the documented form, whatever was asked."""

Complete = Callable[..., dict[str, Any]]


@pytest.fixture(params=["function", "class"])
def complete(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Answers of a scripted model by the flat function and by the class."""

    def call(script: Any, **options: Any) -> dict[str, Any]:
        model = Model.from_engine(scripted_engine(script, slope=1.0))
        monkeypatch.setattr(api, "_load", lambda *_: model)
        if request.param == "class":
            with CactusModel("scripted") as one:
                return dict(json.loads(one.complete(HELLO, **options)))
        handle = cactus_init("scripted")
        assert handle is not None
        try:
            return dict(json.loads(cactus_complete(handle, HELLO, **options)))
        finally:
            cactus_destroy(handle)

    return call


def check_form(row: dict[str, Any], documented: str) -> None:
    """Names, their order, types and fixed values."""
    form = json.loads(documented)
    assert list(row) == list(form)
    assert [type(value) for value in row.values()] == [type(value) for value in form.values()]
    assert {name: row[name] for name in FIXED} == {name: form[name] for name in FIXED}
    assert 0 <= row["confidence"] <= 1
    assert row["ram_usage_mb"] > 1 and row["prefill_tps"] > 0
    assert row["total_tokens"] == row["prefill_tokens"] + row["decode_tokens"]


def test_an_answer(complete: Complete) -> None:
    row = complete(saying("Hello! How can I help?"))
    check_form(row, ANSWER)
    assert row["response"] == "Hello! How can I help?" and row["decode_tokens"] == 22
    assert 0 < row["time_to_first_token_ms"] <= row["total_time_ms"] and row["decode_tps"] > 0


def test_a_hand_off_at_the_first_token(complete: Complete) -> None:
    row = complete(saying("Hi", entropies=[UNSURE]))
    check_form(row, HAND_OFF)
    assert row["total_time_ms"] == row["time_to_first_token_ms"] > 0
    assert (row["decode_tokens"], row["decode_tps"]) == (0, 0.0)
    assert row["total_tokens"] == row["prefill_tokens"] == len("u:Hello\na:")
    assert row["confidence"] == pytest.approx(0.1234, abs=1e-3)
    assert cactus_get_last_error() is None, "a hand-off is no failure"


def test_a_hand_off_in_the_middle_counts_what_was_written(complete: Complete) -> None:
    row = complete(saying("x" * 30, entropies=[0.1] + [UNSURE] * 29))
    assert (row["success"], row["cloud_handoff"], row["response"]) == (False, True, None)
    assert list(row) == list(json.loads(HAND_OFF))
    assert row["decode_tokens"] == 9 and row["decode_tps"] > 0
    assert row["total_time_ms"] >= row["time_to_first_token_ms"]
    assert row["total_tokens"] == row["prefill_tokens"] + 9


@pytest.mark.parametrize(
    ("sure", "options", "handed_off"),
    [
        (0.71, {}, False),
        (0.69, {}, True),
        (0.69, {"confidence_threshold": None}, True),
        (0.69, {"confidence_threshold": 0.5}, False),
        (0.69, {"confidence_threshold": 0}, False),
        (0.71, {"confidence_threshold": 0.9}, True),
    ],
)
def test_the_threshold_is_0_7_unless_it_is_given(
    complete: Complete, sure: float, options: dict[str, Any], handed_off: bool
) -> None:
    import math

    row = complete(saying("Hi", entropies=[(1 - sure) * math.log(300)]), **options)
    assert row["cloud_handoff"] is handed_off
    assert row["confidence"] > 0.68


def test_the_typed_api_hands_off_only_below_a_threshold_that_was_given(tiny_model: Path) -> None:
    with Model(tiny_model) as model:
        done = model.chat(HELLO, max_tokens=2)
        assert done.finish_reason == "length" and done.confidence < 0.7
        assert model.chat(HELLO, max_tokens=2, confidence_threshold=0.7).cloud_handoff
