"""What an answer leaves out, by where its words were attended to."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.speech import coverage
from cactus.speech.coverage import Gap, before_gap, first_gap, is_sparse
from cactus.speech.pieces import Piece
from cactus.speech.words import Timed
from tests.speech.test_rules import SMALL

FIRST = SMALL.first_time
CLAIM = Piece(0.0, 26.0, [FIRST, 7, 8, FIRST + 50])


def word(start: float, end: float, peak: float) -> Timed:
    return Timed(" word", 1, start, end, 1.0, peak)


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Half a minute in which the detector finds speech everywhere."""
    monkeypatch.setattr(coverage, "speaks", lambda samples, seconds: len(samples) > 0)
    return np.zeros(480_000, np.float32)


@pytest.mark.parametrize(
    ("text", "sparse"),
    [
        ("x" * 119, True),
        ("x" * 120, False),
        ("字" * 39, True),
        ("字" * 40, False),
        ("ひと" * 20, False),
        ("한국" * 20, False),
    ],
)
def test_few_letters_do_not_take_half_a_minute(text: str, sparse: bool) -> None:
    assert is_sparse([CLAIM], [text]) is sparse


def test_a_sentence_does_not_take_the_time_of_three() -> None:
    """Said three times and written once, it had the time of all three."""
    said = "Конференция в данный момент заблокирована и в нее невозможно зайти."
    assert is_sparse([Piece(0.0, 22.54, [])], [said])
    assert not is_sparse([Piece(0.0, 15.0, [])], [said])


def test_what_follows_the_words_was_left_out(talk: np.ndarray) -> None:
    words = [[word(0, 1, 0.5), word(1, 26, 2.0)]]
    gap = first_gap(words, talk)
    assert gap == Gap(3.0, 26.0, 2)
    assert before_gap([CLAIM], words, gap) == [CLAIM]


def test_what_precedes_the_words_was_left_out(talk: np.ndarray) -> None:
    words = [[word(0, 24, 23.5), word(24, 26, 25.0)]]
    gap = first_gap(words, talk)
    assert gap == Gap(0, 22.5, 0)
    assert before_gap([CLAIM], words, gap) == []


def test_what_lies_between_the_words_was_left_out(talk: np.ndarray) -> None:
    words = [[word(0, 1, 0.5), word(1, 26, 25.5)]]
    gap = first_gap(words, talk)
    assert gap == Gap(1.0, 24.5, 1)
    assert before_gap([CLAIM], words, gap) == [Piece(0.0, 1.0, [FIRST, 7])]


def test_a_pause_leaves_nothing_out() -> None:
    words = [[word(0, 1, 0.5), word(1, 26, 2.0)]]
    assert first_gap(words, np.zeros(480_000, np.float32)) is None


def test_words_that_follow_each_other_leave_nothing_out(talk: np.ndarray) -> None:
    assert first_gap([[word(i, i + 1, i + 0.5) for i in range(26)]], talk) is None
