"""Who may begin, who waits, and for whom there is no place."""

from __future__ import annotations

import asyncio

import pytest

from cactus.server.admission import Admission
from cactus.server.current import Current
from cactus.server.errors import ApiError


class Requests:
    """Requests that are held until the test lets them go."""

    def __init__(self, running: int, waiting: int = 100, tokens: int = 10_000) -> None:
        self.admission = Admission(running, waiting, tokens, lambda: 100.0)
        self.begun: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._go: dict[str, asyncio.Event] = {}

    async def begin(self, name: str, tenant: str | None = None, tokens: int = 10) -> None:
        """A request comes."""
        self._go[name] = asyncio.Event()
        current = Current(tenant=tenant, tokens=tokens)
        self._tasks[name] = asyncio.create_task(self._work(name, current))
        await asyncio.sleep(0)

    async def _work(self, name: str, current: Current) -> None:
        async with self.admission.enter(current):
            self.begun.append(name)
            await self._go[name].wait()

    async def end(self, name: str) -> None:
        """It has its answer; raises what it was refused with."""
        self._go[name].set()
        await self._tasks[name]
        await asyncio.sleep(0)

    async def leave(self, name: str) -> None:
        """Its client goes away."""
        self._tasks[name].cancel()
        await asyncio.wait([self._tasks[name]])
        await asyncio.sleep(0)


def test_those_that_wait_begin_when_others_end() -> None:
    async def check() -> None:
        all_of = Requests(running=2)
        for name in "abcd":
            await all_of.begin(name)
        assert all_of.begun == ["a", "b"]
        await all_of.end("b")
        assert all_of.begun == ["a", "b", "c"]
        await all_of.leave("d")
        await all_of.end("a")
        await all_of.end("c")
        assert all_of.begun == ["a", "b", "c"]
        assert (all_of.admission.running, all_of.admission.waiting) == (0, 0)

    asyncio.run(check())


@pytest.mark.fault("F61")
def test_the_key_with_the_fewest_running_is_next() -> None:
    async def check() -> None:
        all_of = Requests(running=2)
        for name in ("a1", "a2", "a3", "a4"):
            await all_of.begin(name, "a")
        await all_of.begin("b1", "b")
        await all_of.end("a1")
        assert all_of.begun == ["a1", "a2", "b1"]
        await all_of.end("b1")
        assert all_of.begun[-1] == "a3"

    asyncio.run(check())


def test_one_that_has_a_place_needs_no_second() -> None:
    async def check() -> None:
        admission = Admission(1, 10, 1000, lambda: 1.0)
        current = Current()
        async with admission.enter(current), admission.enter(current):
            assert admission.running == 1
        assert admission.running == 0

    asyncio.run(check())


@pytest.mark.parametrize("leaves", [False, True])
def test_a_place_is_not_lost_by_who_leaves_in_his_turn(leaves: bool) -> None:
    async def check() -> None:
        all_of = Requests(running=1)
        await all_of.begin("a")
        await all_of.begin("b")
        await all_of.begin("c")
        all_of._go["a"].set()
        if leaves:
            await asyncio.sleep(0)  # b has been called, and has not heard it yet
        await all_of.leave("b")
        await all_of.end("a")  # who leaves is no fault of his
        await all_of.end("c")
        assert (all_of.admission.running, all_of.admission.waiting) == (0, 0)

    asyncio.run(check())


@pytest.mark.fault("F61")
def test_the_queue_is_bounded_in_requests_tokens_and_for_each_key() -> None:
    async def check() -> None:
        full = Requests(running=1, waiting=4, tokens=1000)
        await full.begin("runs")
        await full.begin("w1", tokens=900)
        await full.begin("too many tokens", tokens=200)
        with pytest.raises(ApiError) as refused:
            await full.end("too many tokens")
        assert (refused.value.status, refused.value.retry_after) == (429, 9)  # 900 at 100 a second
        await full.begin("x1", "x")
        await full.begin("x2", "x")
        await full.begin("x3", "x")
        with pytest.raises(ApiError) as refused:
            await full.end("x3")
        assert refused.value.status == 429
        await full.begin("w2")
        await full.begin("w3")
        with pytest.raises(ApiError) as refused:
            await full.end("w3")
        assert refused.value.status == 503
        assert full.admission.refused == 3
        for name in ("runs", "w1", "x1", "x2", "w2"):
            await full.end(name)

    asyncio.run(check())


def test_a_single_long_prompt_may_wait() -> None:
    async def check() -> None:
        all_of = Requests(running=1, tokens=1000)
        await all_of.begin("a")
        await all_of.begin("long", tokens=5000)
        await all_of.end("a")
        assert all_of.begun == ["a", "long"]
        await all_of.end("long")

    asyncio.run(check())
