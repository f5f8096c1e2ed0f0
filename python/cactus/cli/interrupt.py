"""Ctrl-C while something is being computed: the first ends that, the second ends the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

LOOKS_A_SECOND = 4


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


def as_found(results: Iterator[T], stop: Callable[[], object]) -> Iterator[T | None]:
    """What comes of an iterator that takes its time, and None between a few times a second.

    It is read in a thread of its own, so that this one can show that time goes by, and notices
    Ctrl-C in the middle of a step. Whoever leaves early has `stop` called, and waits for its end.
    """
    found: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            for result in results:
                found.put((result, None))
            found.put((None, None))
        except BaseException as error:
            found.put((None, error))

    worker = Thread(target=work, daemon=True)
    worker.start()
    ended = False
    try:
        while not ended:
            try:
                result, error = found.get(timeout=1 / LOOKS_A_SECOND)
            except Empty:
                yield None
                continue
            ended = result is None
            if error is not None:
                raise error
            if result is not None:
                yield result
    finally:
        if not ended:
            stop()
        worker.join()
