"""Threads for calls, of which the system has only so many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cactus.errors import InsufficientMemory


@contextmanager
def starting() -> Iterator[None]:
    """Where a thread is started: InsufficientMemory if the system gives no more."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise InsufficientMemory(
            "the system gives no thread for another call: fewer calls at once, or more of what "
            "limits it (ulimit -u, ulimit -v, pids.max of the control group)"
        ) from None
