"""Windows over a stream, wherever they begin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled
from cactus.speech.timeline import Timeline
from cactus.speech.window import Windows, stoppable

LENGTH = 50


def blocks(sound: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    at, n = 0, 0
    while at < len(sound):
        size = sizes[n % len(sizes)]
        yield sound[at : at + size]
        at, n = at + size, n + 1


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 300),
    st.lists(st.integers(1, 70), min_size=1, max_size=5),
    st.lists(st.integers(0, 90), min_size=1, max_size=8),
)
def test_a_window_is_what_a_slice_would_be(total: int, sizes: list[int], moves: list[int]) -> None:
    sound = np.arange(total, dtype=np.float32)
    windows = Windows(blocks(sound, sizes), LENGTH)
    start = 0
    for move in moves:
        start += move
        want = sound[start : start + LENGTH]
        assert windows.at(start).tolist() == want.tolist()


def test_what_lies_behind_is_dropped() -> None:
    sound = np.zeros(100_000, np.float32)
    windows = Windows(blocks(sound, [1000]), LENGTH)
    for start in range(0, 100_000, 40):
        windows.at(start)
        assert len(windows._held) <= LENGTH + 1000


def test_endless_silence_can_be_stopped() -> None:
    flag, read = StopFlag(), 0

    def silence() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            if read == 20:
                flag.set()
            yield np.zeros(16_000, np.float32)

    windows = Windows(Timeline().follow(stoppable(flag, silence())), 16_000)
    with pytest.raises(Cancelled):
        windows.at(0)
    assert read == 20
