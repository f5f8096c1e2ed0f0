"""Ctrl-C while something is being computed: the first ends that, the second ends the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_at_interrupt(stop: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C calls `stop`, the next raises KeyboardInterrupt; yields: was there one?"""
    hit = False

    def interrupted(signum: int, frame: Any) -> None:
        nonlocal hit
        if hit:
            signal.default_int_handler(signum, frame)
        hit = True
        stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield lambda: hit
    finally:
        signal.signal(signal.SIGINT, before)
