"""Who reads runs in an event loop: woken when there is something to read, and without a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Reader:
    """Waits, in whatever event loop its task runs, for what is computed elsewhere."""

    __slots__ = ("_place",)

    def __init__(self) -> None:
        self._place: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def wait_while(self, waits: Callable[[], bool]) -> None:
        """Come back when `waits` is false: it is looked at whenever this is told of news."""
        if not waits():
            return
        import asyncio

        loop = asyncio.get_running_loop()
        if self._place is None or self._place[0] is not loop:
            self._place = (loop, asyncio.Event())
        event = self._place[1]
        while True:
            event.clear()  # before it is looked: whoever has news tells after they are there
            if not waits():
                return
            await event.wait()


def tell(readers: Iterable[Reader]) -> None:
    """There is news for `readers`, from any thread: one hand-over to an event loop, for all."""
    found: dict[asyncio.AbstractEventLoop, list[asyncio.Event]] = {}
    for reader in readers:
        place = reader._place
        if place is not None:  # else it has not waited yet, and looks before it does
            found.setdefault(place[0], []).append(place[1])
    for loop, events in found.items():
        with suppress(RuntimeError):  # it is closed: nobody waits in it any more
            loop.call_soon_threadsafe(_wake, events)


def _wake(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()
