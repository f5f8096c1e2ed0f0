"""Text that nobody said, by the published scores."""

from __future__ import annotations

from cactus.speech.hallucination import first_hallucination, is_odd
from cactus.speech.words import Timed


def said(start: float, end: float, probability: float = 0.9) -> Timed:
    return Timed(" word", 1, start, end, probability)


def test_unlikely_short_and_long_words_are_odd() -> None:
    assert not is_odd([said(0, 0.3), said(0.3, 0.6)])
    assert is_odd([said(0, 0.3, 0.1), said(0.3, 0.6, 0.1)])
    assert not is_odd([said(0, 0.3, 0.1), said(0.3, 0.6)])
    assert is_odd([said(0, 0.05)])
    assert is_odd([said(0, 6), said(6, 6.3)])
    assert not is_odd([])


def test_a_hallucination_has_silence_around_it() -> None:
    fine, odd = [said(0, 0.4), said(0.4, 0.8)], [said(10, 10.3, 0.1)]
    after = [said(20, 20.3), said(20.3, 20.7)]
    assert first_hallucination([fine, odd, after], 0, 30, 2.0) == (1, 10)
    assert first_hallucination([fine, after], 0, 30, 2.0) is None
    near = [said(0.9, 1.2, 0.1)]
    follows = [said(1.3, 1.6), said(1.6, 2.0)]
    assert first_hallucination([fine, [said(4, 4.3, 0.1)], [said(4.4, 4.9)]], 0, 30, 5.0) is None
    assert first_hallucination([fine, near, follows], 0, 30, 2.0) is None


def test_silence_before_an_odd_beginning_is_left_out() -> None:
    odd = [said(10, 10.3, 0.1)]
    assert first_hallucination([odd], -1, 30, 2.0) == (0, 10)
    assert first_hallucination([[], [said(10, 10.5)]], 0, 30, 2.0) is None
