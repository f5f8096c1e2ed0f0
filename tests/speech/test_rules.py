"""What Whisper may say next, against the rules written out one token at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.errors import InvalidRequest
from cactus.speech.rules import Rules
from cactus.speech.vocabulary import Vocabulary

TIMES = 101
SMALL = Vocabulary(
    start=41,
    end=40,
    previous=45,
    no_speech=46,
    no_timestamps=47,
    first_time=48,
    tasks={"transcribe": 43, "translate": 44},
    languages={"en": 42},
    silent=frozenset({1, 2, 41, 42, 43, 44, 45, 46, 47}),
    silent_first=frozenset({5, 40}),
    size=48 + TIMES,
)


def allowed(said: list[int], logits: np.ndarray, timestamps: bool) -> set[int]:
    """The ids that may follow, by the sentences of the published description."""
    v = SMALL
    ids = set(range(v.size)) - v.silent
    if not said:
        ids -= v.silent_first
    if not timestamps:
        return {id for id in ids if id < v.first_time}
    times = [id for id in said if id >= v.first_time]
    if not said:
        ids = {id for id in ids if v.first_time <= id <= v.first_time + 50}
    elif said[-1] >= v.first_time:
        if len(said) == 1 or said[-2] >= v.first_time:
            ids = {id for id in ids if id < v.first_time}
        else:
            ids = {id for id in ids if id >= v.end}
    if times:
        pair = said[-1] >= v.first_time and len(said) > 1 and said[-2] < v.first_time
        earliest = times[-1] + (0 if pair else 1)
        ids = {id for id in ids if id < v.first_time or id >= earliest}
    later = [float(logits[id]) for id in ids if id >= v.first_time]
    if later:
        together = math.log(sum(math.exp(x) for x in later))
        if together > max((float(logits[id]) for id in ids if id < v.first_time), default=-9e9):
            ids = {id for id in ids if id >= v.first_time}
    return ids


@pytest.mark.fault("F48")
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.integers(3, 39), st.integers(48, 48 + TIMES - 1)), max_size=6),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_what_is_forbidden(said: list[int], seed: int, timestamps: bool) -> None:
    logits = np.random.default_rng(seed).standard_normal(SMALL.size).astype(np.float32) * 3
    want = allowed(said, logits, timestamps)
    before = logits.copy()
    Rules(SMALL, timestamps=timestamps).apply(logits, said)
    assert {int(id) for id in np.flatnonzero(logits > -np.inf)} == want
    kept = sorted(want)
    assert (logits[kept] == before[kept]).all()


def test_prompts() -> None:
    assert SMALL.prompt("en", "transcribe", True) == [41, 42, 43]
    assert SMALL.prompt("en", "translate", False) == [41, 42, 44, 47]
    english = Vocabulary(**{**vars(SMALL), "languages": {}, "tasks": {}})
    assert english.prompt(None, "transcribe", False) == [41, 47]


@pytest.mark.fault("F48")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xx", "transcribe", True), "language is 'xx', expected one of: en"),
        ((None, "transcribe", True), "language is None"),
        (("en", "sing", True), "task is 'sing', expected one of transcribe, translate"),
    ],
)
def test_a_language_or_task_there_is_not(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        SMALL.prompt(*arguments)


@pytest.mark.fault("F48")
def test_an_english_model_translates_nothing() -> None:
    english = Vocabulary(**{**vars(SMALL), "languages": {}, "tasks": {}})
    with pytest.raises(InvalidRequest, match="English only"):
        english.prompt("de", "transcribe", True)


def test_times() -> None:
    assert SMALL.seconds(48) == 0
    assert SMALL.seconds(148) == pytest.approx(2.0)
