from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest

from cactus.types import Completion, CompletionResult, Metrics, StreamEvent, TranscriptionResult
from tests.api.fields import FIELDS

DONE = Completion(
    text='Grüße 🎉 "quoted"\n\x07',
    finish_reason="stop",
    confidence=0.123456789,
    tokens=(1, 2),
    logprobs=(-0.1, -0.2),
    metrics=Metrics(
        time_to_first_token_ms=45.2049,
        total_time_ms=163.7,
        prefill_tps=619.456,
        decode_tps=168.4,
        ram_usage_mb=245.675,
        prefill_tokens=28,
        decode_tokens=50,
        cached_tokens=9,
    ),
)


def test_a_completion_is_exactly_the_fourteen_fields_in_order() -> None:
    row = json.loads(DONE.result().to_json())
    assert list(row) == FIELDS
    assert row["success"] is True and row["error"] is None and row["cloud_handoff"] is False
    assert row["response"] == DONE.text and row["function_calls"] == []
    assert row["total_tokens"] == 78


def test_fractions_are_rounded_and_text_stays_text() -> None:
    text = DONE.result().to_json()
    assert "Grüße 🎉" in text and "\\u" in text  # only the control character is escaped
    row = json.loads(text)
    assert row["confidence"] == 0.1235
    assert (row["time_to_first_token_ms"], row["prefill_tps"]) == (45.2, 619.46)
    assert "\n" not in text


def test_a_hand_off_has_the_shape_of_the_contract() -> None:
    row = json.loads(replace(DONE, finish_reason="handoff").result().to_json())
    assert list(row) == FIELDS
    assert (row["success"], row["error"], row["cloud_handoff"]) == (False, None, True)
    assert row["response"] is None and row["function_calls"] == []


def test_an_error_keeps_all_fields() -> None:
    row = json.loads(CompletionResult(success=False, error="no", function_calls=[]).to_json())
    assert list(row) == FIELDS
    assert row["error"] == "no" and row["response"] is None and row["confidence"] == 0.0


def test_a_transcription_adds_segments_at_the_end() -> None:
    result = TranscriptionResult(success=False, error="no", function_calls=[], segments=[])
    assert list(json.loads(result.to_json())) == [*FIELDS, "segments"]


def test_what_is_no_number_never_becomes_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(DONE, confidence=math.nan).result().to_json()


def test_results_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DONE.text = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        StreamEvent("a", 1).text = "b"  # type: ignore[misc]
