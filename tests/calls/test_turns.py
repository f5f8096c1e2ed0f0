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
        with call.inside:
            assert turns.enter(call)
            yield
    finally:
        turns.leave(call)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.002)


def test_advances_run_one_after_another_in_the_order_they_came() -> None:
    turns = Turns(lambda: None)
    order: list[int] = []
    go = threading.Event()

    def work(number: int) -> None:
        with turn(turns, Call()):
            go.wait(10)
            order.append(number)

    threads = []
    for number in range(6):
        threads.append(InThread(lambda number=number: work(number)))  # type: ignore[misc]
        if number == 0:
            wait_until(lambda: turns._running is not None)
        else:
            wait_until(lambda number=number: len(turns._queue) == number)  # type: ignore[misc]
    go.set()
    for thread in threads:
        thread.result()
    assert order == list(range(6))


def test_a_call_that_goes_on_at_once_lets_one_that_waits_go_before() -> None:
    turns = Turns(lambda: None)
    first, second = Call(), Call()
    order = []
    with turn(turns, first):
        order.append("first")

        def work() -> None:
            with turn(turns, second):
                order.append("second")

        other = InThread(work)
        wait_until(lambda: second in turns._queue)
        turns.exit(first)
        assert turns.enter(first)
        order.append("first again")
    other.result()
    assert order == ["first", "second", "first again"]


def test_stop_reaches_all_calls_in_flight_but_none_that_comes_later() -> None:
    turns = Turns(lambda: None)
    running, waiting, resting, later = Call(), Call(), Call(), Call()
    turns.register(resting)
    with turn(turns, running):

        def work() -> bool:
            turns.register(waiting)
            return turns.enter(waiting)

        thread = InThread(work)
        wait_until(lambda: waiting in turns._queue)
        turns.stop()
        turns.stop()
        assert running.stopped and waiting.stopped and resting.stopped
        assert thread.result() is False, "a stopped call does not wait for its turn"
    turns.register(later)
    assert not later.stopped


@pytest.mark.fault("F51")
def test_stop_without_calls_is_not_remembered() -> None:
    turns = Turns(lambda: None)
    turns.stop()
    call = Call()
    with turn(turns, call):
        assert not call.stopped
    turns.stop()
    assert not call.stopped, "a call that has ended is out of reach"


@pytest.mark.fault("F51")
def test_stop_takes_no_lock() -> None:
    # A signal handler may run while this very thread, or another, holds the lock.
    turns = Turns(lambda: None)
    call = Call()
    turns.register(call)
    with turns._lock:
        InThread(turns.stop).result(timeout=5)
    assert call.stopped


def test_a_call_that_was_dropped_unstarted_is_forgotten() -> None:
    turns = Turns(lambda: None)
    turns.register(Call())
    call = Call()
    turns.register(call)
    assert [ref() for ref in turns._calls] == [call]


def test_the_same_thread_cannot_wait_for_its_own_advance() -> None:
    turns = Turns(lambda: None)
    with turn(turns, Call()), pytest.raises(ReentrantCall, match="signal handler"):
        turns.enter(Call())
    with turn(turns, Call()):
        pass


def test_between_two_advances_the_same_thread_may_begin_another_call() -> None:
    turns = Turns(lambda: None)
    outer = Call()
    with turn(turns, outer):
        turns.exit(outer)
        with turn(turns, Call()):
            pass
        assert turns.enter(outer)


def test_an_advance_that_was_interrupted_before_it_could_say_so_is_over() -> None:
    turns = Turns(lambda: None)
    call, other = Call(), Call()
    with call.inside:
        assert turns.enter(call)
    with turn(turns, other):
        turns.exit(call)  # has none: nobody else's ends
        assert turns._running is other
    for _ in range(2):
        with call.inside:
            assert turns.enter(call)
    assert turns.advance(other, lambda: None)


def test_a_call_that_was_interrupted_while_it_waited_is_not_waited_for() -> None:
    turns = Turns(lambda: None)
    call, other = Call(), Call()
    with other.inside:
        turns._queue.append(other)
    with turn(turns, Call()):
        thread = InThread(lambda: turns.advance(call, lambda: None))
        wait_until(lambda: call in turns._queue)
    assert thread.result()
    assert not turns._queue


def test_close_may_be_asked_for_again_where_it_was_interrupted() -> None:
    freed = Freed()
    freed.turns._closed = True  # and then came the interrupt
    freed.turns.close()
    assert freed.count == 1


@pytest.mark.fault("F52")
def test_close_frees_once() -> None:
    freed = Freed()
    freed.turns.close()
    freed.turns.close()
    assert freed.count == 1 and freed.turns.closed
    with pytest.raises(ModelClosed, match="destroyed"):
        freed.turns.check()
    with pytest.raises(ModelClosed):
        freed.turns.register(Call())
    with pytest.raises(Cancelled):
        freed.turns.enter(Call())


@pytest.mark.fault("F52")
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
        freed.turns.exit(call)
        InThread(freed.turns.close).result(timeout=5)
        assert freed.count == 1
        with pytest.raises(Cancelled, match="destroyed while"):
            freed.turns.enter(call)
    assert freed.count == 1


@pytest.mark.fault("F54")
def test_close_from_a_signal_handler_inside_an_advance_frees_when_that_ends() -> None:
    freed = Freed()
    call = Call()
    with turn(freed.turns, call):
        freed.turns.close()
        assert freed.count == 0, "the engine is still at work further down this stack"
        freed.turns.exit(call)
        assert freed.count == 1
    assert freed.count == 1


def test_a_waiting_call_is_cancelled_by_close() -> None:
    freed = Freed()
    running = Call()
    with turn(freed.turns, running):
        waiting = Call()

        def work() -> None:
            freed.turns.register(waiting)
            freed.turns.enter(waiting)

        thread = InThread(work)
        wait_until(lambda: waiting in freed.turns._queue)
        closer = InThread(freed.turns.close)
        with pytest.raises(Cancelled):
            thread.result()
        assert freed.count == 0
    closer.result()
    assert freed.count == 1


def test_many_threads_are_never_inside_at_once() -> None:
    turns = Turns(lambda: None)
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            call = Call()
            with turn(turns, call):
                for _ in range(2):
                    inside += 1
                    most = max(most, inside)
                    inside -= 1
                    turns.exit(call)
                    assert turns.enter(call)

    for thread in [InThread(work) for _ in range(8)]:
        thread.result()
    assert most == 1
    assert not turns._queue and turns._running is None and turns._calls == ()
