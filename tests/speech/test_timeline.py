"""Moments of the speech alone, and of the whole sound."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.speech import timeline
from cactus.speech.timeline import Timeline


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Timeline:
    """Speech at 1 to 3 seconds, in two pieces, and at 10 to 11."""

    def pieces(blocks: object, options: object) -> object:
        for start, stop in ((1, 2), (2, 3), (10, 11)):
            yield start * 16_000, np.zeros((stop - start) * 16_000, np.float32)

    monkeypatch.setattr(timeline, "only_speech", pieces)
    return Timeline([])


def test_times_are_those_of_the_whole_sound(cut: Timeline) -> None:
    assert sum(len(piece) for piece in cut) == 3 * 16_000
    assert [cut.original(t) for t in (0, 1.5, 2.0, 2.5)] == [1, 2.5, 10, 10.5]
    assert [cut.original(t, end=True) for t in (0, 1.5, 2.0, 2.5, 3.0)] == [1, 2.5, 3, 10.5, 11]


def test_without_speech_there_is_nothing_to_move() -> None:
    silence = Timeline([np.zeros(16_000, np.float32)])
    assert list(silence) == []
    assert silence.original(2.0) == 2.0
