"""Calls on one model from several threads, and the ways to end them."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cactus.errors import Cancelled, ModelClosed, ReentrantCall
from cactus.generate.mailbox import AHEAD
from cactus.model import Model
from tests.generate.scripted import InThread, babbling, lanes, saying, wait_until

Make = Callable[..., Model]
HELLO = [{"role": "user", "content": "Hello"}]


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


class Gate:
    """Makes a scripted program wait inside a step, from the given step on."""

    def __init__(self, model: Model, at: int = 1) -> None:
        self.program: Any = model._engine.program
        self.reached = threading.Event()
        self.go = threading.Event()
        self._at = at
        self._count = 0
        self.program.during = self._wait

    def _wait(self, _tokens: Sequence[int]) -> None:
        self._count += 1
        if self._count == self._at:
            self.reached.set()
            assert self.go.wait(20)


@pytest.mark.fault("F50")
def test_many_threads_give_the_answers_of_one(scripted_model: Make) -> None:
    questions = [f"question {number % 5}" for number in range(20)]
    alone = {}
    for question in questions:
        alone[question] = scripted_model(babbling).chat(ask(question), max_tokens=6).text
    model = scripted_model(babbling)
    threads = [InThread(lambda q=q: model.chat(ask(q), max_tokens=6).text) for q in questions]  # type: ignore[misc]
    assert [thread.result() for thread in threads] == [alone[question] for question in questions]


@pytest.mark.fault("F50")
def test_streams_in_several_threads_do_not_mix(scripted_model: Make) -> None:
    model = scripted_model(babbling)

    def read(question: str) -> str:
        with model.stream(ask(question), max_tokens=6) as stream:
            return "".join(event.text for event in stream)

    threads = [InThread(lambda n=n: read(f"q{n}")) for n in range(8)]  # type: ignore[misc]
    answers = [thread.result() for thread in threads]
    for number, answer in enumerate(answers):
        assert answer == scripted_model(babbling).chat(ask(f"q{number}"), max_tokens=6).text


@pytest.mark.fault("F51")
def test_stop_from_another_thread_ends_the_prompt_within_one_chunk(scripted_model: Make) -> None:
    model = scripted_model(babbling, context=6000)
    gate = Gate(model, at=3)
    answer = InThread(lambda: model.chat(ask("x" * 5000)))
    assert gate.reached.wait(10)
    model.stop()
    gate.go.set()
    done = answer.result()
    assert done.finish_reason == "cancelled" and done.text == ""
    assert done.metrics.prefill_tokens == 3 * gate.program.chunk


@pytest.mark.fault("F51")
def test_stop_from_another_thread_ends_the_answer_within_one_token(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model, at=8)  # three chunks of the prompt, then tokens
    answer = InThread(lambda: model.chat(HELLO))
    assert gate.reached.wait(10)
    steps = len(gate.program.steps)
    model.stop()
    gate.go.set()
    assert answer.result().finish_reason == "cancelled"
    assert len(gate.program.steps) == steps + 1


@pytest.mark.fault("F51")
def test_stop_before_after_and_twice(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    model.stop()
    assert len(model.chat(HELLO, max_tokens=3).tokens) == 3, "an early stop is not remembered"
    model.stop()
    model.stop()
    assert len(model.chat(HELLO, max_tokens=3).tokens) == 3


def test_stop_reaches_a_call_that_has_just_joined(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model)
    first = InThread(lambda: model.chat(HELLO))
    assert gate.reached.wait(10)
    second = InThread(lambda: model.chat(ask("other")))
    wait_until(lambda: len(lanes(model)) == 2)
    model.stop()
    gate.go.set()
    assert first.result().finish_reason == "cancelled"
    done = second.result()
    assert (done.finish_reason, done.text, done.metrics.prefill_tokens) == ("cancelled", "", 0)


def test_stop_while_a_stream_is_read(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    with model.stream(HELLO) as stream:
        next(stream)
        model.stop()
        assert list(stream) == []
    assert len(model.chat(HELLO, max_tokens=3).tokens) == 3


@pytest.mark.fault("F51")
def test_stop_from_a_signal_handler(scripted_model: Make) -> None:
    model = scripted_model(babbling, context=100_000)
    program: Any = model._engine.program
    program.during = lambda _tokens: time.sleep(0.001)
    before = signal.signal(signal.SIGALRM, lambda *_: model.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        done = model.chat(HELLO, max_tokens=50_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done.finish_reason == "cancelled" and done.tokens


@pytest.mark.fault("F54")
def test_chat_from_a_signal_handler_is_refused_not_deadlocked(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    caught: list[BaseException] = []

    def handler(*_: object) -> None:
        try:
            model.chat(HELLO)
        except BaseException as error:
            caught.append(error)

    program: Any = model._engine.program
    program.during = lambda _tokens: None if caught else signal.raise_signal(signal.SIGALRM)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        done = model.chat(HELLO, max_tokens=3)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [type(error) for error in caught] == [ReentrantCall]
    assert len(done.tokens) == 3


@pytest.mark.fault("F52")
def test_close_while_generating_ends_the_call_and_then_returns(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model, at=5)
    answer = InThread(lambda: model.chat(HELLO))
    assert gate.reached.wait(10)
    closer = InThread(model.close)
    time.sleep(0.1)
    assert closer.running, "native memory is in use: close waits for the step"
    gate.go.set()
    closer.result()
    assert gate.program.closed
    with pytest.raises((Cancelled, ModelClosed)):
        answer.result()
    with pytest.raises(ModelClosed):
        model.chat(HELLO)
    model.close()


@pytest.mark.fault("F52")
def test_close_cancels_a_running_call_rather_than_cutting_it(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model, at=5)
    answer = InThread(lambda: model.chat(HELLO))
    assert gate.reached.wait(10)
    closer = InThread(model.close)
    while not model.closed:
        time.sleep(0.005)
    gate.go.set()
    with pytest.raises(Cancelled, match="destroyed while this call was running"):
        answer.result()
    closer.result()


@pytest.mark.fault("F52")
def test_close_while_others_wait_cancels_them(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model)
    first = InThread(lambda: model.chat(HELLO))
    assert gate.reached.wait(10)
    second = InThread(lambda: model.chat(HELLO))
    wait_until(lambda: len(lanes(model)) == 2)
    closer = InThread(model.close)
    wait_until(lambda: model.closed)
    gate.go.set()
    closer.result()
    for call in (first, second):
        with pytest.raises(Cancelled):
            call.result()
    assert lanes(model) == [] and gate.program.closed


def test_close_with_a_half_read_stream_does_not_wait_for_its_reader(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    stream = model.stream(HELLO)
    next(stream)
    InThread(model.close).result(timeout=5)
    with pytest.raises(Cancelled):
        next(stream)
    stream.close()


def test_close_in_the_middle_of_ones_own_stream(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    with pytest.raises(Cancelled), model.stream(HELLO) as stream:
        for _ in stream:
            model.close()
    assert model.closed


@pytest.mark.fault("F53")
def test_reset_forgets_what_a_running_call_would_leave(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model, at=5)
    answer = InThread(lambda: model.chat(HELLO, max_tokens=6))
    assert gate.reached.wait(10)
    reset = InThread(model.reset)
    wait_until(lambda: bool(model._turns._queue))
    assert reset.running, "the engine is at work: reset waits for the step"
    gate.go.set()
    reset.result()
    assert answer.result().text == scripted_model(babbling).chat(HELLO, max_tokens=6).text
    assert model.chat(HELLO, max_tokens=1).metrics.cached_tokens == 0


@pytest.mark.fault("F53")
def test_reset_is_not_skipped_by_a_stop(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model, at=5)
    answer = InThread(lambda: model.chat(HELLO))
    assert gate.reached.wait(10)
    reset = InThread(model.reset)
    wait_until(lambda: bool(model._turns._queue))
    model.stop()
    gate.go.set()
    answer.result()
    reset.result()
    assert model.chat(HELLO, max_tokens=1).metrics.cached_tokens == 0


@pytest.mark.fault("F54")
def test_inside_ones_own_stream_other_calls_are_answered(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    alone = {text: model.chat(ask(text), max_tokens=5).text for text in ("one", "two", "three")}
    with model.stream(ask("one"), max_tokens=5) as stream:
        text = next(stream).text
        assert model.chat(ask("two"), max_tokens=5).text == alone["two"]
        model.reset()
        with model.stream(ask("three"), max_tokens=5) as inner:
            assert "".join(event.text for event in inner) == alone["three"]
        assert text + "".join(event.text for event in stream) == alone["one"]


def test_a_stream_may_be_read_by_several_threads_in_turn(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    expected = model.chat(HELLO, max_tokens=6).text
    with model.stream(HELLO, max_tokens=6) as stream:
        texts = [InThread(lambda: next(stream).text).result() for _ in range(3)]
        assert "".join([*texts, *(event.text for event in stream)]) == expected


@pytest.mark.fault("F54")
def test_an_open_stream_keeps_nobody_waiting(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    with model.stream(HELLO) as stream:
        assert next(stream).text == "H"
        assert InThread(lambda: model.chat(HELLO).text).result() == "Hi"
        assert [event.text for event in stream] == ["i"]


@pytest.mark.fault("F60")
def test_an_open_stream_that_nobody_reads_costs_a_few_tokens_and_no_more(
    scripted_model: Make,
) -> None:
    model = scripted_model(babbling, context=1000)
    program: Any = model._engine.program
    with model.stream(ask("one")) as stream:
        next(stream)
        model.chat(ask("two"), max_tokens=100)
        both = [batch for batch in program.batches if len(batch) == 2]
        assert len(both) <= AHEAD
        assert (
            "".join(e.text for e in itertools.islice(stream, 30))
            == (scripted_model(babbling).chat(ask("one"), max_tokens=31).text[1:])
        )


def test_a_stream_closed_by_another_thread_while_it_is_read(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    gate = Gate(model, at=6)
    stream = model.stream(HELLO)
    reader = InThread(lambda: list(stream))
    assert gate.reached.wait(10)
    stream.close()
    gate.go.set()
    assert len(reader.result()) >= 1
    assert stream.completion.finish_reason == "cancelled"
    assert model.chat(HELLO, max_tokens=1).text


def test_two_streams_are_read_in_turn(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    expected = [model.chat(ask(text), max_tokens=8).text for text in ("one", "two")]
    with (
        model.stream(ask("one"), max_tokens=8) as first,
        model.stream(ask("two"), max_tokens=8) as second,
    ):
        pairs = list(zip(first, second, strict=True))
    assert ["".join(event.text for event in events) for events in zip(*pairs, strict=True)] == (
        expected
    )


def test_a_stream_that_a_signal_handler_was_refused_can_be_read_on(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    expected = model.chat(ask("one"), max_tokens=6).text
    program: Any = model._engine.program
    caught: list[BaseException] = []
    with model.stream(ask("one"), max_tokens=6) as stream:
        text = next(stream).text

        def handler(*_: object) -> None:
            try:
                next(stream)
            except ReentrantCall as error:
                caught.append(error)

        program.during = lambda _tokens: None if caught else signal.raise_signal(signal.SIGALRM)
        before = signal.signal(signal.SIGALRM, handler)
        try:
            model.chat(ask("two"), max_tokens=3)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert len(caught) == 1
        assert text + "".join(event.text for event in stream) == expected


def test_a_stop_reaches_all_open_streams(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    with model.stream(ask("one")) as first, model.stream(ask("two")) as second:
        next(first)
        next(second)
        model.stop()
        assert list(first) == [] == list(second)
        assert first.completion.finish_reason == second.completion.finish_reason == "cancelled"


def test_a_stream_that_has_failed_is_not_an_empty_one(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    with model.stream(ask("one")) as stream:
        next(stream)
        model.close()
        for _ in range(3):
            with pytest.raises(Cancelled):
                next(stream)
    assert list(stream) == [], "closed by its reader, it is"
