from __future__ import annotations

import builtins
import mmap
import time
from typing import Any

import pytest

from cactus.calls.stopwatch import Stopwatch, rate
from cactus.machine import resident_megabytes


def test_the_stopwatch_counts_only_while_it_runs() -> None:
    watch = Stopwatch(already=1.0)
    assert watch.seconds == 1.0
    watch.start()
    time.sleep(0.02)
    watch.pause()
    first = watch.seconds
    time.sleep(0.05)
    assert watch.seconds == first
    assert 1.02 <= first < 1.05
    watch.pause()
    watch.start()
    watch.start()
    assert watch.seconds >= first


@pytest.mark.fault("F64")
def test_time_never_runs_backwards_with_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: -1e9)
    watch = Stopwatch()
    watch.start()
    assert 0 <= watch.seconds < 1


@pytest.mark.parametrize(
    ("count", "seconds", "expected"), [(10, 2.0, 5.0), (0, 2.0, 0), (-1, 2.0, 0), (10, 0.0, 0)]
)
def test_a_rate_is_never_infinite(count: int, seconds: float, expected: float) -> None:
    assert rate(count, seconds) == expected


def test_memory_that_is_touched_shows() -> None:
    before = resident_megabytes()
    # A mapping of its own: an allocator may hand out pages that are resident already.
    block = mmap.mmap(-1, 64 * 2**20)
    for page in range(0, len(block), 4096):
        block[page] = 1
    assert 55 < resident_megabytes() - before < 90
    block.close()


def test_without_proc_the_peak_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Any, *rest: Any) -> Any:
        raise FileNotFoundError(path)

    now = resident_megabytes()
    monkeypatch.setattr(builtins, "open", missing)
    assert now / 2 < resident_megabytes() < 100 * now
