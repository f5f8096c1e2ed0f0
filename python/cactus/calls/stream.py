"""A call that is read piece by piece: what its reader holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from typing import Any, TypeVar

from cactus.calls.closing import Closing
from cactus.calls.run import Run
from cactus.errors import CactusError, ReentrantCall

T = TypeVar("T")


class EventStream(Iterator[T], Closing):
    """The events of one call, computed while they are read. Read it to its end or close it.

    Between two events the engine is free for others. A stream that has failed raises its error
    again, it does not look like one that is empty. After ReentrantCall it can be read on.
    """

    def __init__(self, run: Run[T, Any]) -> None:
        self._run = run
        self._events = run.events()
        self._failure: CactusError | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._failure is not None:
            raise copy(self._failure)
        try:
            return next(self._events)
        except ReentrantCall:
            self._events = self._run.events()
            raise
        except CactusError as error:
            self._failure = copy(error)  # without the traceback, which would keep this alive
            raise

    def stop(self) -> None:
        """End the work soon, within a token; the rest of the stream is still readable."""
        self._run.call.stop()

    def close(self) -> None:
        """End the stream now; its memory is free within a step. Safe to call twice."""
        self._run.call.stop()
        self._failure = None
        # ValueError: another thread is reading it right now, and ends it at the next token.
        with suppress(ValueError):
            self._events.close()
        self._run.close_unread()
