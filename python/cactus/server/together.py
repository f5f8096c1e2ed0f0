"""Several works of one request side by side: each has a place, and all end when one fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from cactus.server.current import CURRENT, Current

T = TypeVar("T")

WAITING = 8
"""Pieces that may wait for a reader who is slow."""


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them give, in their order. The first error ends the others, and is raised."""
    found: dict[int, T] = {}
    try:
        sources = [_numbered(number, work) for number, work in enumerate(works)]
        async with aclosing(side_by_side(sources)) as read:
            async for number, value in read:
                found[number] = value
        return [found[number] for number in range(len(works))]
    finally:
        for work in works:
            work.close()  # of those that have not begun


async def _numbered(
    number: int, work: Coroutine[Any, Any, T]
) -> AsyncGenerator[tuple[int, T], None]:
    yield number, await work


async def side_by_side(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """What all of them give, as it comes. The first error ends the others, and is raised.

    As many work at a time as the request has places for; it has one, others only while they are
    free. Nothing is given before all that begin at once have given something: what fails before
    that fails alone.
    """
    if len(sources) == 1:
        async with aclosing(sources[0]) as read:
            async for each in read:
                yield each
        return
    current = CURRENT.get() or Current()
    queue: asyncio.Queue[tuple[int, tuple[T] | Exception | None]] = asyncio.Queue(WAITING)
    waiting, tasks = deque(enumerate(sources)), list[asyncio.Future[None]]()
    working = more = 0  # `more` are places beside the first

    def begin() -> None:
        nonlocal working, more
        while waiting and (working <= more or current.take()):
            more = max(more, working)
            tasks.append(asyncio.ensure_future(_pump(*waiting.popleft(), queue)))
            working += 1

    begin()
    silent, held = set(range(working)), list[T]()
    try:
        while working:
            number, item = await queue.get()
            silent.discard(number)
            if isinstance(item, Exception):
                raise item
            if item is not None:
                held.append(item[0])
            else:
                working -= 1
                if more:
                    more -= 1
                    current.give_back()
            begin()
            if not silent:
                for each in held:
                    yield each
                held.clear()
    finally:
        await _end(tasks, queue)
        for _ in range(more):
            current.give_back()


async def _pump(number: int, source: AsyncGenerator[T, None], queue: asyncio.Queue[Any]) -> None:
    try:
        async with aclosing(source) as read:
            async for each in read:
                await queue.put((number, (each,)))
    except Exception as error:
        await queue.put((number, error))
    else:
        await queue.put((number, None))


async def _end(tasks: Sequence[asyncio.Future[Any]], queue: asyncio.Queue[Any]) -> None:
    for task in tasks:
        task.cancel()
    # One that fails as it is cancelled tells so, and may not wait for a reader then.
    reading = asyncio.ensure_future(_throw_away(queue))
    await asyncio.gather(*tasks, return_exceptions=True)
    reading.cancel()


async def _throw_away(queue: asyncio.Queue[Any]) -> None:
    while True:
        await queue.get()
