"""Works of one request side by side: one end for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from cactus.server.together import side_by_side, together


async def counting(log: list[str], name: str, most: int) -> AsyncGenerator[str, None]:
    try:
        for n in range(most):
            await asyncio.sleep(0)
            yield f"{name}{n}"
    finally:
        log.append(name)


async def failing() -> AsyncGenerator[str, None]:
    yield "begun"
    raise ValueError("no")


def test_all_results_come_in_order() -> None:
    async def give(n: int) -> int:
        await asyncio.sleep(0.01 * (3 - n))
        return n

    assert asyncio.run(together([give(n) for n in range(3)])) == [0, 1, 2]


def test_the_first_error_ends_the_others() -> None:
    ended: list[bool] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(together([forever(), fail(), forever()]))
    assert ended == [True, True]


def test_whoever_is_cancelled_cancels_all() -> None:
    ended: list[bool] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        task = asyncio.ensure_future(together([forever(), forever()]))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [True, True]


def test_streams_are_merged_and_each_keeps_its_order() -> None:
    log: list[str] = []

    async def main() -> list[str]:
        sources = [counting(log, name, 30) for name in "abc"]
        return [each async for each in side_by_side(sources)]

    found = asyncio.run(main())
    for name in "abc":
        assert [each for each in found if each[0] == name] == [f"{name}{n}" for n in range(30)]
    assert sorted(log) == ["a", "b", "c"]


def test_a_stream_that_fails_closes_the_others() -> None:
    log: list[str] = []

    async def main() -> None:
        async for _ in side_by_side([counting(log, "a", 10**9), failing()]):
            pass

    with pytest.raises(ValueError, match="no"):
        asyncio.run(main())
    assert log == ["a"]


def test_streams_that_nobody_reads_on_are_closed() -> None:
    log: list[str] = []

    async def main() -> None:
        merged = side_by_side([counting(log, name, 10**9) for name in "ab"])
        await merged.__anext__()
        await merged.aclose()

    asyncio.run(main())
    assert sorted(log) == ["a", "b"]
