"""A call that is read piece by piece: what its reader holds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, TypeVar

from cactus.closing import Closing
from cactus.errors import CactusError, InvalidRequest, ReentrantCall
from cactus.generate.turns import Call
from cactus.types import Completion, StreamEvent, shortened

if TYPE_CHECKING:
    from cactus.generate.generation import Generation

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
    """The events of one call, computed while they are read. Read it to its end or close it.

    A stream that has failed raises its error again, it does not look like one that is empty. After
    ReentrantCall nothing has begun: it can be read once the call that was in the way has ended.
    """

    def __init__(self, call: Call, start: Callable[[], Generator[T, None, None]]) -> None:
        self._call, self._start = call, start
        self._events = start()
        self._failure: CactusError | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._failure is not None:
            raise copy(self._failure)
        self._call.move_here()
        try:
            return next(self._events)
        except ReentrantCall:
            self._events = self._start()
            raise
        except CactusError as error:
            self._failure = copy(error)  # without the traceback, which would keep this alive
            raise

    def stop(self) -> None:
        """End the work soon, within a token; the rest of the stream is still readable."""
        self._call.stop()

    def close(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        self._call.stop()
        self._failure = None
        # ValueError: another thread is reading it right now, and ends it at the next token.
        with suppress(ValueError):
            self._events.close()


class CompletionStream(EventStream[StreamEvent]):
    """Events of one completion; `completion` is there once the stream has ended or was closed."""

    def __init__(
        self,
        call: Call,
        generation: Generation,
    ) -> None:
        self._generation = generation
        self._told: Callable[[Completion], None] | None = None
        super().__init__(call, generation.events)

    def when_ended(self, told: Callable[[Completion], None]) -> None:
        """Call `told` with the completion, once, when there is one."""
        self._told = told

    def __next__(self) -> StreamEvent:
        try:
            return super().__next__()
        except StopIteration:
            self._tell()
            raise

    def close(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        super().close()
        self._tell()

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None and self._generation.completion is not None:
            told(self._generation.completion)

    def __repr__(self) -> str:
        return stream_repr(self, self._generation)

    @property
    def completion(self) -> Completion:
        """The whole answer. Raises InvalidRequest while the stream is still running or failed."""
        return completion_of(self._generation)


def stream_repr(stream: object, generation: Generation | None) -> str:
    """How a stream of a completion shows itself: its state, and the text that has come."""
    state, text = ("not begun", "") if generation is None else generation.progress
    shown = f": {shortened(text)}" if text else ""
    return f"<{type(stream).__name__} {state}{shown}>"


def completion_of(generation: Generation | None) -> Completion:
    """The completion of a stream. Raises InvalidRequest while there is none."""
    completion = None if generation is None else generation.completion
    if completion is None:
        raise InvalidRequest("the stream has no completion: it has not been read to its end")
    return completion
