"""Works of one request side by side: one end for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import pytest

from cactus.server.admission import Admission
from cactus.server.current import CURRENT, Current
from cactus.server.together import WAITING, side_by_side, together


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


# -- places: one for each


@contextmanager
def request(current: Current) -> Iterator[None]:
    mark = CURRENT.set(current)
    try:
        yield
    finally:
        CURRENT.reset(mark)


class AtWork:
    """How many work at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def work(self, number: int) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return number

    async def stream(self, number: int) -> AsyncGenerator[int, None]:
        yield await self.work(number)
        yield number


@pytest.mark.parametrize("places", [1, 3])
def test_no_more_work_at_a_time_than_there_are_places(places: int) -> None:
    async def main() -> None:
        admission, current, seen = Admission(places, 10, 1000, lambda: 1.0), Current(), AtWork()
        with request(current):
            async with admission.enter(current):
                assert await together([seen.work(n) for n in range(8)]) == list(range(8))
                assert (seen.most, admission.running) == (places, 1)
                found = [n async for n in side_by_side([seen.stream(n) for n in range(8)])]
                assert sorted(found) == sorted([*range(8)] * 2)
                assert (seen.most, admission.running) == (places, 1)
        assert admission.running == 0

    asyncio.run(main())


def test_what_has_not_begun_ends_with_the_first_error_and_its_places_are_free() -> None:
    async def fail(begun: asyncio.Event) -> None:
        begun.set()
        raise ValueError("no")

    async def main() -> None:
        admission, current, begun = Admission(2, 10, 1000, lambda: 1.0), Current(), asyncio.Event()
        with request(current):
            async with admission.enter(current):
                works = [begun.wait(), fail(begun), *[asyncio.sleep(9**9) for _ in range(5)]]
                with pytest.raises(ValueError, match="no"):
                    await together(works)
                assert admission.running == 1
        assert admission.running == 0

    asyncio.run(main())


def test_who_waits_comes_before_the_next_of_another_request() -> None:
    async def main() -> None:
        admission, order, seen = Admission(2, 10, 1000, lambda: 1.0), list[str](), AtWork()

        async def ask(name: str, answers: int) -> None:
            current = Current()
            with request(current):
                async with admission.enter(current):
                    order.append(name)
                    await together([seen.work(n) for n in range(answers)])
                    order.append(f"{name} ends")

        await asyncio.gather(ask("many", 20), ask("other", 1))
        assert order == ["many", "other", "other ends", "many ends"]
        assert (seen.most, admission.running) == (2, 0)

    asyncio.run(main())


@pytest.mark.fault("F56")
def test_those_that_fail_as_they_are_cancelled_keep_nobody_waiting() -> None:
    async def works(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        except asyncio.CancelledError:
            raise ValueError("on the way out") from None
        raise KeyError("the first")

    async def asked() -> None:
        await together([works(number) for number in range(3 * WAITING)])

    with pytest.raises(KeyError, match="the first"):
        asyncio.run(asyncio.wait_for(asked(), 30))
