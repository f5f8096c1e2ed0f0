from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cactus.calls.turns import Call, Turns
from cactus.errors import Cancelled, ModelClosed, ReentrantCall
from tests.generate.scripted import InThread


class Freed:
    """Counts how often the model's memory was freed, and whether the engine was at rest then."""

    def __init__(self) -> None:
        self.count = 0
        self.turns = Turns(self)

    def __call__(self) -> None:
        self.count += 1


@contextmanager
def turn(turns: Turns, call: Call) -> Iterator[None]:
    turns.register(call)
    try:
        assert turns.enter(call)
        yield
    finally:
        turns.leave(call)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.002)


def test_calls_run_one_after_another_in_the_order_they_came() -> None:
    turns = Turns(lambda: None)
    order: list[int] = []
    go = threading.Event()
    arrived: list[int] = []

    def work(number: int) -> None:
        arrived.append(number)
        with turn(turns, Call()):
            go.wait(10)
            order.append(number)

    threads = []
    for number in range(6):
        threads.append(InThread(lambda number=number: work(number)))  # type: ignore[misc]
        wait_until(lambda number=number: len(arrived) == number + 1)  # type: ignore[misc]
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.result()
    assert order == list(range(6))


def test_stop_reaches_running_and_waiting_calls_but_none_that_comes_later() -> None:
    turns = Turns(lambda: None)
    running, waiting, later = Call(), Call(), Call()
    with turn(turns, running):

        def work() -> bool:
            waiting.move_here()
            turns.register(waiting)
            return turns.enter(waiting)

        thread = InThread(work)
        wait_until(lambda: waiting in turns._queue)
        turns.stop()
        turns.stop()
        assert running.stopped and waiting.stopped
        assert thread.result() is False, "a stopped call does not wait for its turn"
    turns.register(later)
    assert not later.stopped


def test_stop_without_calls_is_not_remembered() -> None:
    turns = Turns(lambda: None)
    turns.stop()
    call = Call()
    with turn(turns, call):
        assert not call.stopped
    turns.stop()
    assert not call.stopped, "a call that has ended is out of reach"


def test_stop_takes_no_lock() -> None:
    # A signal handler may run while this very thread, or another, holds the lock.
    turns = Turns(lambda: None)
    call = Call()
    turns.register(call)
    with turns._changed:
        InThread(turns.stop).result(timeout=5)
    assert call.stopped


def test_a_call_that_was_dropped_unstarted_is_forgotten() -> None:
    turns = Turns(lambda: None)
    turns.register(Call())
    call = Call()
    turns.register(call)
    assert [ref() for ref in turns._calls] == [call]


def test_the_same_thread_cannot_wait_for_itself() -> None:
    turns = Turns(lambda: None)
    with turn(turns, Call()), pytest.raises(ReentrantCall, match="same thread"):
        turns.enter(Call())
    with turn(turns, Call()):
        pass


def test_a_stream_that_moved_to_another_thread_blocks_that_thread() -> None:
    turns = Turns(lambda: None)
    moved = Call()
    with turn(turns, moved):

        def work() -> None:
            moved.move_here()
            with pytest.raises(ReentrantCall):
                turns.enter(Call())

        InThread(work).result()
        InThread(work).result()


def test_close_frees_once() -> None:
    freed = Freed()
    freed.turns.close()
    freed.turns.close()
    assert freed.count == 1 and freed.turns.closed
    with pytest.raises(ModelClosed, match="destroyed"):
        freed.turns.check()
    with pytest.raises(ModelClosed):
        freed.turns.register(Call())
    with pytest.raises(ModelClosed):
        freed.turns.enter(Call())


def test_close_waits_until_the_engine_is_at_rest() -> None:
    freed = Freed()
    call = Call()
    inside = threading.Event()
    finish = threading.Event()

    def work() -> None:
        with turn(freed.turns, call):
            inside.set()
            finish.wait(10)

    worker = InThread(work)
    inside.wait(10)
    closer = InThread(freed.turns.close)
    wait_until(lambda: call.stopped)
    time.sleep(0.1)
    assert closer.running and freed.count == 0
    finish.set()
    worker.result()
    closer.result()
    assert freed.count == 1


def test_close_does_not_wait_for_the_callers_own_code() -> None:
    freed = Freed()
    call = Call()
    with turn(freed.turns, call):
        freed.turns.step_outside()
        InThread(freed.turns.close).result(timeout=5)
        assert freed.count == 1
        with pytest.raises(Cancelled, match="destroyed while"):
            freed.turns.step_inside()
    assert freed.count == 1


def test_close_from_the_callback_of_the_running_call() -> None:
    freed = Freed()
    with turn(freed.turns, Call()):
        freed.turns.step_outside()
        freed.turns.close()
        assert freed.count == 1
        with pytest.raises(Cancelled):
            freed.turns.step_inside()


def test_close_from_a_signal_handler_inside_the_running_call_frees_when_that_ends() -> None:
    freed = Freed()
    with turn(freed.turns, Call()):
        freed.turns.close()
        assert freed.count == 0, "the engine is still at work further down this stack"
    assert freed.count == 1


def test_a_waiting_call_is_cancelled_by_close() -> None:
    freed = Freed()
    with turn(freed.turns, Call()):
        waiting = Call()

        def work() -> None:
            waiting.move_here()
            freed.turns.register(waiting)
            freed.turns.enter(waiting)

        thread = InThread(work)
        wait_until(lambda: waiting in freed.turns._queue)
        freed.turns.step_outside()
        freed.turns.close()
        with pytest.raises(Cancelled):
            thread.result()


def test_many_threads_never_run_at_once() -> None:
    turns = Turns(lambda: None)
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with turn(turns, Call()):
                inside += 1
                most = max(most, inside)
                turns.step_outside()
                turns.step_inside()
                inside -= 1

    for thread in [InThread(work) for _ in range(8)]:
        thread.result()
    assert most == 1
    assert not turns._queue and turns._running is None and turns._calls == ()
