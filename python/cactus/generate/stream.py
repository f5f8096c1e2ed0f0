"""A call that is read piece by piece: what its reader holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TypeVar

from cactus.closing import Closing
from cactus.generate.turns import Call

T = TypeVar("T")


def drain(events: Generator[T, None, None]) -> None:
    """Read events to their end; they are closed whatever happens."""
    try:
        for _ in events:
            pass
    finally:
        # An interrupt between two events leaves the generator suspended, with the turn in hand.
        events.close()


class EventStream(Iterator[T], Closing):
    """The events of one call, computed while they are read. Read it to its end or close it."""

    def __init__(self, call: Call, events: Generator[T, None, None]) -> None:
        self._call, self._events = call, events

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self._call.move_here()
        return next(self._events)

    def stop(self) -> None:
        """End the work soon, within a token; the rest of the stream is still readable."""
        self._call.stop()

    def close(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        self._call.stop()
        # ValueError: another thread is reading it right now, and ends it at the next token.
        with suppress(ValueError):
            self._events.close()
