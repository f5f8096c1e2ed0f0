"""A call that is read piece by piece: what its reader holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from cactus.generate.turns import Call

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class EventStream(Iterator[T]):
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
