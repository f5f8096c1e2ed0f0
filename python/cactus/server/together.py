"""Several works of one request at a time: all end when one fails, or the client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")

WAITING = 8
"""Pieces that may wait for a reader who is slow."""


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them give, in their order. The first error ends the others, and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        return [task.result() for task in tasks if task.done()]
    finally:
        await _end(tasks)


async def side_by_side(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """What all of them give, as it comes. The first error ends the others, and is raised."""
    queue: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue(WAITING)
    tasks = [asyncio.ensure_future(_pump(source, queue)) for source in sources]
    left = len(tasks)
    try:
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item[0]
    finally:
        await _end(tasks)


async def _pump(source: AsyncGenerator[T, None], queue: asyncio.Queue[Any]) -> None:
    try:
        async with aclosing(source) as read:
            async for each in read:
                await queue.put((each,))
    except Exception as error:
        await queue.put(error)
    else:
        await queue.put(None)


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
