"""The async forms of a call; cancelling the task that waits for one stops the work.

A call that must work in the thread that reads it has a thread of its own, for calls on one model
work for each other: with the event loop's shared pool, calls that wait could take every worker
while the one that works needs another to go on. One that others work for has a thread only while
it is being made; then its task waits for news like any other (`Run.attend`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cactus.calls.closing import NotCopied
from cactus.calls.reader import Reader
from cactus.calls.run import Run
from cactus.calls.threads import starting
from cactus.calls.turns import Call
from cactus.compat import Self
from cactus.errors import CactusError, ReentrantCall

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
W = TypeVar("W")


def _new_executor() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "cactus")


async def run_alone(work: Callable[[Call], T]) -> T:
    """Run `work` in a new thread; if the task is cancelled, stop its call and wait for its end."""
    executor, call = _new_executor(), Call()
    try:
        return await _run(executor, call, lambda: work(call))
    finally:
        executor.shutdown(wait=False)


async def run_attended(make: Callable[[Call], Run[Any, T]]) -> T:
    """The result of the run that `make` makes, with a thread only while it needs one.

    If the task is cancelled, stop its call and wait for its end.
    """
    import asyncio

    executor, call, reader = _new_executor(), Call(), Reader()
    made: list[Run[Any, T]] = []

    def begin() -> bool:
        made.append(make(call))
        return made[0].attend(reader, streamed=False)

    try:
        if not await _run(executor, call, begin):
            return await _run(executor, call, made[0].run)
        executor.shutdown(wait=False)
        await reader.wait_while(made[0].waits)
        return made[0].run()
    except asyncio.CancelledError:
        for run in made:
            await _rest(run, reader)
        raise
    finally:
        for run in made:
            run.close_unread()
        executor.shutdown(wait=False)


def in_loop(told: T) -> T:
    """A function, called in the event loop that runs now, by whatever thread; all else as it is."""
    if not callable(told):
        return told
    import asyncio

    loop = asyncio.get_running_loop()
    return cast(T, lambda *arguments: loop.call_soon_threadsafe(told, *arguments))


async def _run(executor: ThreadPoolExecutor, call: Call, work: Callable[[], T]) -> T:
    import asyncio

    with starting():
        future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        call.stop()
        await _settle(future)
        raise


async def _settle(future: asyncio.Future[T]) -> None:
    import asyncio

    # The engine is at rest before the cancellation goes on: whoever cancelled may close the model.
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # cancelled once more; the caller raises it anyway
    if not future.cancelled():
        future.exception()  # looked at, so that asyncio does not report it as forgotten


async def _rest(run: Run[Any, Any], reader: Reader) -> None:
    """Stop `run`, and come back when nobody works for it any more."""
    import asyncio

    run.call.stop()
    while run.at_work():
        try:
            await reader.wait_while(run.at_work)
        except asyncio.CancelledError:
            continue  # as above


class AsyncEventStream(AsyncIterator[T], NotCopied):
    """The events of one call for ``async for``. Read it to its end or close it.

    The request is checked by ``async with``, or when the first event is asked for. A stream that
    has failed raises its error again; after ReentrantCall it can be read once the call that was in
    the way has ended.
    """

    def __init__(self, start: Callable[[Call], Run[T, Any]]) -> None:
        self._call = Call()
        self._start = start
        self._executor: ThreadPoolExecutor | None = None
        self._reader = Reader()
        self._run: Run[T, Any] | None = None
        self._events: Generator[T, None, None] | None = None
        self._begun = self._attends = False
        self._failure: CactusError | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        await self._do(self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> T:
        if self._failure is not None:
            raise copy(self._failure)
        if self._ended:
            raise StopAsyncIteration
        if not self._begun:
            await self._do(self._begin)
            self._begun = True
        found = await (self._attend() if self._attends else self._do(self._next))
        if not found:
            self._end()
            raise StopAsyncIteration
        return found[0]

    def stop(self) -> None:
        """End the work soon, within a token; the rest of the stream is still readable."""
        self._call.stop()

    async def aclose(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        self._call.stop()
        self._failure = None
        if self._attends and self._run is not None:
            await _rest(self._run, self._reader)
            self._close()
        elif self._executor is not None:
            await self._do(self._close)
        self._end()

    async def _attend(self) -> tuple[T] | None:
        """One event, which others compute, or None at the end."""
        assert self._run is not None
        try:
            await self._reader.wait_while(self._run.waits)
            return self._next()
        except BaseException as error:
            await self._failed(error)
            raise

    async def _do(self, work: Callable[[], W]) -> W:
        if self._executor is None:
            self._executor = _new_executor()
        try:
            done = await _run(self._executor, self._call, work)
        except ReentrantCall:
            self._events = None
            self._end_thread()
            raise
        except BaseException as error:  # the worker is idle by now
            await self._failed(error)
            raise
        if self._attends:
            self._end_thread()
        return done

    async def _failed(self, error: BaseException) -> None:
        import asyncio

        if isinstance(error, asyncio.CancelledError) and self._attends and self._run is not None:
            await _rest(self._run, self._reader)
        if isinstance(error, CactusError):
            self._failure = copy(error)
        self._close()
        self._end()

    def _make(self) -> Run[T, Any]:
        return self._start(self._call)

    def _begin(self) -> None:
        if self._run is None:
            self._run = self._make()
            self._attends = self._run.attend(self._reader)
        if self._events is None:
            self._events = self._run.events()

    def _next(self) -> tuple[T] | None:
        """One event, or None at the end."""
        self._begin()
        assert self._events is not None
        for event in self._events:
            return (event,)
        return None

    def _close(self) -> None:
        if self._events is not None:
            self._events.close()
        if self._run is not None:
            self._run.close_unread()

    def _end(self) -> None:
        self._ended = True
        self._end_thread()

    def _end_thread(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
