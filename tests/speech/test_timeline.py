"""Moments of the speech alone, and of the whole sound."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.speech.timeline import Timeline


@pytest.fixture
def cut() -> Timeline:
    """Speech at 1 to 3 seconds, in two pieces, and at 10 to 11."""
    timeline = Timeline()
    for start, stop in ((1, 2), (2, 3), (10, 11)):
        timeline.add(start * 16_000, (stop - start) * 16_000)
    return timeline


def test_times_are_those_of_the_whole_sound(cut: Timeline) -> None:
    assert [cut.original(t) for t in (0, 1.5, 2.0, 2.5)] == [1, 2.5, 10, 10.5]
    assert [cut.original(t, end=True) for t in (0, 1.5, 2.0, 2.5, 3.0)] == [1, 2.5, 3, 10.5, 11]


def test_a_segment_does_not_begin_or_end_in_the_silence_next_to_a_cut(cut: Timeline) -> None:
    assert cut.original_segment(1.6, 3.0) == (10, 11)  # said behind the cut
    assert cut.original_segment(0.5, 2.4) == (1.5, 3)  # said before it
    assert cut.original_segment(1.4, 2.6) == (2.4, 10.6)  # on both sides
    assert cut.original_segment(1.6, 1.9) == (2.6, 2.9)
    assert cut.original_segment(2.0, 2.3) == (10, 10.3)  # a short one stays where it is
    assert cut.original_segment(0.0, 0.3) == (1, 1.3)


def test_a_word_stays_in_the_stretch_of_its_middle(cut: Timeline) -> None:
    assert cut.original_span(0.5, 1.0) == (1.5, 2.0)
    assert cut.original_span(1.5, 2.2) == (2.5, 3)  # mostly before the cut
    assert cut.original_span(1.9, 2.4) == (10, 10.4)  # mostly behind it
    assert cut.original_span(2.9, 3.4) == (10.9, 11)


def test_without_speech_there_is_nothing_to_move() -> None:
    silence = Timeline()
    assert list(silence.follow([np.zeros(16_000, np.float32)])) == []
    assert silence.original(2.0) == 2.0
    assert silence.original_span(2.0, 2.5) == silence.original_segment(2.0, 2.5) == (2.0, 2.5)
