"""One call and the four ways to read it: run, stream, awaited, and streamed for `async for`."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Generator
from typing import Any

import pytest

from cactus.calls.aio import AsyncEventStream, run_alone
from cactus.calls.run import GeneratorRun
from cactus.calls.stop_flag import StopFlag
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call, Turns
from cactus.errors import CactusError, Cancelled, ModelClosed, ReentrantCall
from tests.generate.scripted import InThread


def count_to(count: int, fail: int | None, stop: StopFlag) -> Generator[int, None, str]:
    for number in range(count):
        if stop:
            raise Cancelled("stopped")
        if number == fail:
            raise CactusError(f"failed at {number}")
        yield number
    return f"{count} numbers"


class Counting(GeneratorRun[int, str]):
    """Counts to `count`; `let_go` is how often it was let go."""

    def __init__(self, turns: Turns, call: Call, count: int = 3, fail: int | None = None) -> None:
        super().__init__(turns, call, count_to(count, fail, call.flag))
        self.let_go = 0

    def _let_go(self) -> None:
        super()._let_go()
        self.let_go += 1


@pytest.fixture
def turns() -> Turns:
    return Turns(lambda: None)


def in_flight(turns: Turns) -> int:
    return len([ref for ref in turns._calls if ref() is not None])


def test_four_ways_to_read_it_give_the_same(turns: Turns) -> None:
    assert Counting(turns, Call()).run() == "3 numbers"
    with EventStream(Counting(turns, Call())) as stream:
        assert list(stream) == [0, 1, 2]

    async def later() -> None:
        assert await run_alone(lambda call: Counting(turns, call).run()) == "3 numbers"
        async with AsyncEventStream(lambda call: Counting(turns, call)) as events:
            assert [event async for event in events] == [0, 1, 2]

    asyncio.run(later())
    assert in_flight(turns) == 0


def test_the_result_is_there_at_the_end_and_not_before(turns: Turns) -> None:
    run = Counting(turns, Call())
    events = run.events()
    assert next(events) == 0 and run.result is None and in_flight(turns) == 1
    assert list(events) == [1, 2]
    assert run.result == "3 numbers" and run.let_go == 1 and in_flight(turns) == 0


def test_the_engine_is_free_for_others_between_two_events(turns: Turns) -> None:
    first, second = Counting(turns, Call()).events(), Counting(turns, Call()).events()
    assert [next(first), next(second), next(first), next(second)] == [0, 0, 1, 1]
    assert InThread(Counting(turns, Call()).run).result() == "3 numbers"
    assert [*first, *second] == [2, 2]


def test_none_is_no_event_and_lets_others_go_on(turns: Turns) -> None:
    order = []

    def work(name: str) -> Generator[int | None, None, str]:
        for number in range(4):
            order.append(name)
            yield None if number % 2 else number
        return name

    first, second = (GeneratorRun(turns, Call(), work(name)) for name in "ab")
    found = first.events()
    assert next(found) == 0
    other = InThread(second.run)
    assert other.result() == "b" and list(found) == [2] and first.result == "a"
    assert order == ["a", *"bbbb", *"aaa"]


def test_what_fails_has_no_result_and_is_let_go(turns: Turns) -> None:
    run = Counting(turns, Call(), fail=1)
    stream = EventStream(run)
    assert next(stream) == 0
    for _ in range(2):
        with pytest.raises(CactusError, match="failed at 1"):
            next(stream)
    assert run.result is None and run.let_go == 1 and in_flight(turns) == 0


def test_what_is_stopped_before_it_has_a_result_is_cancelled(turns: Turns) -> None:
    run = Counting(turns, Call())
    run.call.stop()
    with pytest.raises(Cancelled, match="before there was a result"):
        run.run()
    assert run.let_go == 1 and in_flight(turns) == 0


def test_one_that_nobody_reads_is_let_go_once(turns: Turns) -> None:
    run = Counting(turns, Call())
    stream = EventStream(run)
    for _ in range(2):
        stream.close()
    assert run.let_go == 1 and in_flight(turns) == 0 and run.result is None
    assert list(stream) == []


def test_a_reader_that_goes_away_ends_it(turns: Turns) -> None:
    run = Counting(turns, Call())
    stream = EventStream(run)
    assert next(stream) == 0
    stream.close()
    assert run.let_go == 1 and in_flight(turns) == 0
    assert list(stream) == []


def test_after_a_reentrant_call_it_is_still_in_flight(turns: Turns) -> None:
    busy, run = Call(), Counting(turns, Call())
    stream = EventStream(run)
    turns.register(busy)
    assert busy.inside.acquire()
    assert turns.enter(busy)  # as in a signal handler that interrupts an advance of its thread
    with pytest.raises(ReentrantCall):
        next(stream)
    with pytest.raises(ReentrantCall):
        Counting(turns, Call()).run()
    assert run.let_go == 0 and in_flight(turns) == 2
    turns.leave(busy)
    busy.inside.release()
    assert list(stream) == [0, 1, 2] and run.let_go == 1 and in_flight(turns) == 0


def test_one_of_a_model_that_is_closed_is_cancelled_or_not_begun(turns: Turns) -> None:
    begun, late = Counting(turns, Call()), Counting(turns, Call())
    events = begun.events()
    assert next(events) == 0
    turns.close()
    with pytest.raises(Cancelled, match="destroyed"):
        next(events)
    with pytest.raises(ModelClosed):
        late.run()
    assert begun.let_go == late.let_go == 1
    with pytest.raises(ModelClosed):
        Counting(turns, Call())


def test_a_task_that_is_cancelled_stops_its_call(turns: Turns) -> None:
    begun, calls = threading.Event(), list[Call]()

    def work(call: Call) -> str:
        calls.append(call)
        begun.set()
        while not call.stopped:
            pass
        return Counting(turns, call).run()

    async def later() -> None:
        task = asyncio.create_task(run_alone(work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(later())
    assert calls[0].stopped and in_flight(turns) == 0


@pytest.mark.parametrize("form", ["run", "stream", "async"])
def test_nothing_keeps_a_run_alive_that_was_dropped(turns: Turns, form: str) -> None:
    made: list[weakref.ref[Counting]] = []

    def make(call: Call) -> Counting:
        run = Counting(turns, call)
        made.append(weakref.ref(run))
        return run

    async def later() -> None:
        held: Any = make(Call())
        if form == "stream":
            held = EventStream(held)
            next(held)
        elif form == "async":
            held = AsyncEventStream(make)
            await anext(held)
        assert made[-1]() is not None
        del held
        await asyncio.sleep(0.1)  # for the thread to end
        assert made[-1]() is None

    gc.disable()
    try:
        asyncio.run(later())
    finally:
        gc.enable()
