"""Requests join and leave the batch at any step, and each gets the answer that it gets alone."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cactus.errors import Cancelled, InsufficientMemory, ModelClosed, NonFiniteLogits
from cactus.generate import many
from cactus.generate.chat import Chat
from cactus.generate.conversations import WORTH_SHARING
from cactus.generate.mailbox import AHEAD
from cactus.model import Model
from tests.generate.scripted import (
    END,
    InThread,
    ScriptedSampler,
    babbling,
    lanes,
    rambling,
    wait_until,
    with_program,
)

SYSTEM = "You answer as a parrot would, whatever is said. "
WORDS = ["one", "two", "three", "a longer question", SYSTEM + "hello", SYSTEM + "and goodbye"]


Make = Callable[..., tuple[Model, Any]]


@pytest.fixture
def make(scripted_model: Callable[..., Model]) -> Make:
    return lambda script, **options: with_program(
        scripted_model(script, **{"chunk": 16, "context": 2000, **options})
    )


def text_of(stream: Any) -> str:
    return "".join(event.text for event in stream)


def alone(make: Make, texts: list[str], **options: Any) -> dict[str, str]:
    """The answer to each, from a model that answers nothing else."""
    found = {}
    for text in texts:
        model, _ = make(rambling)
        found[text] = model.chat(text, **options).text
    return found


def open_sessions(program: Any) -> int:
    return sum(not session.closed for session in program.sessions)


# -- at random


@pytest.mark.fault("F50")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_whoever_joins_leaves_and_stops_no_answer_changes(
    make: Make, seed: int, slope: float
) -> None:
    expected = alone(make, WORDS, max_tokens=30)
    model, program = make(rambling, chunk=random.Random(seed).choice([5, 16, 64]), slope=slope)
    program.during = lambda _tokens: time.sleep(0.0002)
    before = ScriptedSampler.open_samplers

    def work(number: int) -> None:
        chance = random.Random(100 * seed + number)
        for _ in range(6):
            text = chance.choice(WORDS)
            kind = chance.choice(["chat", "stream", "close", "stop", "many", "completed"])
            if kind == "chat":
                assert model.chat(text, max_tokens=30).text == expected[text]
            elif kind == "many":
                texts = chance.choices(WORDS, k=chance.randint(1, 5))
                answers = model.chat_many(texts, max_tokens=30)
                assert [answer.text for answer in answers] == [expected[text] for text in texts]
            elif kind == "completed":
                with model.chat_as_completed(WORDS, max_tokens=30) as answers:
                    for index, answer in answers:
                        assert answer.text == expected[WORDS[index]]
                        if chance.random() < 0.3:
                            break
            else:
                with model.stream(text, max_tokens=30) as stream:
                    shown = ""
                    for event in stream:
                        shown += event.text
                        if kind != "stream" and chance.random() < 0.2:
                            if kind == "close":
                                break
                            stream.stop()
                        if chance.random() < 0.1:
                            time.sleep(0.002)
                assert expected[text].startswith(shown) and stream.completion.text == shown
                if kind == "stream":
                    assert shown == expected[text]

    for thread in [InThread(lambda n=n: work(n)) for n in range(6)]:  # type: ignore[misc]
        thread.result(50)
    assert lanes(model) == [] and ScriptedSampler.open_samplers == before
    model.reset()
    assert open_sessions(program) == 0


@pytest.mark.fault("F52")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(8))
def test_a_model_that_is_closed_at_any_moment_ends_all_and_frees_all(make: Make, seed: int) -> None:
    chance = random.Random(seed)
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.0002)
    before = ScriptedSampler.open_samplers

    def work(number: int) -> None:
        with pytest.raises((Cancelled, ModelClosed)):
            while True:
                if number % 2:
                    model.chat(WORDS[number], max_tokens=20)
                else:
                    with model.stream(WORDS[number], max_tokens=20) as stream:
                        for _ in stream:
                            pass

    threads = [InThread(lambda n=n: work(n)) for n in range(5)]  # type: ignore[misc]
    time.sleep(0.01 + 0.02 * chance.random())
    model.close()
    for thread in threads:
        thread.result()
    assert program.closed and open_sessions(program) == 0
    assert ScriptedSampler.open_samplers == before


# -- interrupts


@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", ["during", "after", "text"])
@pytest.mark.parametrize("at", [1, 2, 3, 7, 12])
def test_an_interrupt_of_the_thread_that_drives_changes_no_other_answer(
    make: Make, monkeypatch: pytest.MonkeyPatch, where: str, at: int
) -> None:
    texts = WORDS[:4]
    expected = alone(make, texts, max_tokens=40)
    model, program = make(rambling)
    program.script = rambling
    calm = threading.Event()
    victim: list[threading.Thread] = []
    count = 0

    def interrupt(*_: object) -> None:
        nonlocal count
        if victim and threading.current_thread() is victim[0]:
            calm.wait(5)  # the others have joined
            count += 1
            if count == at:
                raise KeyboardInterrupt

    if where == "text":
        tokenizer: Any = model._engine.tokenizer
        make_stream = tokenizer.stream

        def stream(*arguments: Any, **options: Any) -> Any:
            decoder = make_stream(*arguments, **options)
            push = decoder.push

            def pushed(token: int) -> str:
                text: str = push(token)
                interrupt()
                return text

            decoder.push = pushed
            return decoder

        monkeypatch.setattr(tokenizer, "stream", stream)
    else:
        setattr(program, where, interrupt)
    interrupted = []

    def die() -> None:
        victim.append(threading.current_thread())
        try:
            model.chat("the victim", max_tokens=40, logit_bias={END: -100})
        except KeyboardInterrupt:
            interrupted.append(True)

    driver = InThread(die)
    wait_until(lambda: bool(model._workers) and len(lanes(model)) == 1)
    others = [InThread(lambda t=t: model.chat(t, max_tokens=40).text) for t in texts[:2]]  # type: ignore[misc]

    def read(text: str) -> str:
        with model.stream(text, max_tokens=40) as stream:
            return text_of(stream)

    others += [InThread(lambda t=t: read(t)) for t in texts[2:]]  # type: ignore[misc]
    wait_until(lambda: len(lanes(model)) == 5 or not driver.running)
    calm.set()
    driver.result()
    assert [other.result() for other in others] == [expected[text] for text in texts]
    assert interrupted or count < at
    assert lanes(model) == []


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of files left open
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_interrupts_at_any_moment_change_nothing_and_leave_nothing(
    make: Make, slope: float
) -> None:
    texts = WORDS[:3] + WORDS[4:]
    expected = alone(make, texts, max_tokens=30)
    model, _ = make(rambling, slope=slope)
    over = threading.Event()

    def answer(chance: random.Random) -> None:
        text = chance.choice(texts)
        if chance.random() < 0.5:
            assert model.chat(text, max_tokens=30).text == expected[text]
        else:
            with model.stream(text, max_tokens=30) as stream:
                assert text_of(stream) == expected[text]

    def work(number: int) -> None:
        chance = random.Random(number)
        while not over.is_set():
            answer(chance)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    others = [InThread(lambda n=n: work(n)) for n in range(3)]  # type: ignore[misc]
    chance = random.Random(9)
    hits, deadline = 0, time.monotonic() + 20
    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        while hits < 40 and time.monotonic() < deadline:
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0001 + 0.01 * chance.random())
                answer(chance)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            except KeyboardInterrupt:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        over.set()
    for other in others:
        other.result()
    assert hits > 5
    assert model.chat("one", max_tokens=30).text == expected["one"]
    wait_until(lambda: lanes(model) == [])


# -- readers that go away


def test_a_reader_that_goes_away_frees_its_memory_within_the_step_that_runs(make: Make) -> None:
    model, program = make(babbling)
    reached, go = threading.Event(), threading.Event()
    with model.stream("one") as stream:
        next(stream)

        def hold(_tokens: object) -> None:
            if len(program.batches[-1]) == 2:
                reached.set()
                go.wait(10)

        program.during = hold
        other = InThread(lambda: model.chat("two", max_tokens=50).tokens)
        assert reached.wait(10)
        before = len(lanes(model))
    assert before == 2 and len(lanes(model)) == 2, "the step still has its row"
    at = len(program.batches)
    program.during = lambda _tokens: None
    go.set()
    assert len(other.result()) == 50
    assert all(len(batch) == 1 for batch in program.batches[at + 1 :])
    assert lanes(model) == []


def test_a_stream_is_a_few_tokens_ahead_while_others_compute(make: Make) -> None:
    model, program = make(babbling)
    with model.stream("one", max_tokens=200) as stream:
        first = next(stream).text
        model.chat("two", max_tokens=60)
        steps = len(program.steps)
        ahead = [next(stream).text for _ in range(AHEAD)]
        assert len(program.steps) == steps, "these were computed already"
        rest = text_of(stream)
    assert first + "".join(ahead) + rest == make(babbling)[0].chat("one", max_tokens=200).text


def test_more_open_streams_than_a_step_has_rows_keep_nobody_waiting(make: Make) -> None:
    model, _ = make(babbling, chunk=4)
    expected = make(babbling)[0].chat("x", max_tokens=12).text
    streams = [model.stream("x", max_tokens=12) for _ in range(9)]
    shown = [next(stream).text for stream in streams]
    assert model.chat("x", max_tokens=12).text == expected
    assert [text + text_of(stream) for text, stream in zip(shown, streams, strict=True)] == (
        [expected] * 9
    )


# -- prompts


@pytest.mark.fault("F61")
def test_a_stream_goes_on_while_a_long_prompt_is_read(make: Make) -> None:
    model, program = make(babbling, chunk=64)
    program.during = lambda _tokens: time.sleep(0.02)
    with model.stream("one", max_tokens=100) as stream:
        next(stream)
        steps = len(program.batches)
        other = InThread(lambda: model.chat("x" * 600, max_tokens=1))
        wait_until(lambda: len(lanes(model)) == 2)
        for _ in range(20):
            next(stream)
        stream.stop()
    other.result()
    mixed = [batch for batch in program.batches[steps:] if len(batch) == 2]
    assert len(mixed) > 3 and all(len(batch[0]) == 1 for batch in mixed)


def test_beside_answers_of_the_same_call_a_prompt_has_all_the_rows_that_are_left(
    make: Make,
) -> None:
    model, program = make(babbling, chunk=64)
    program.during = lambda tokens: time.sleep(0.002 * len(tokens))
    model.chat_many(["one", "x" * 1000], max_tokens=60)
    sizes = [len(tokens) for tokens in program.steps]
    assert sizes.count(64) >= 15


@pytest.mark.fault("F61")
def test_an_answer_that_is_not_streamed_goes_on_while_a_long_prompt_is_read(make: Make) -> None:
    model, program = make(babbling, chunk=64)
    program.during = lambda tokens: time.sleep(0.002 * len(tokens))
    other = InThread(lambda: model.chat("one", max_tokens=300))
    wait_until(lambda: len(program.steps) > 3)
    model.chat("x" * 300, max_tokens=1)
    mixed = [len(tokens) for tokens in program.steps[3:] if len(tokens) > 1]
    model.stop()
    other.result()
    assert len(mixed) > 6 and max(mixed) < 40


def test_two_prompts_take_turns(make: Make) -> None:
    model, program = make(babbling, chunk=32)
    done = model.chat_many(["a" * 100, "b" * 1000], max_tokens=1)
    assert [answer.metrics.prefill_tokens for answer in done] == [105, 1005]
    first = [bytes(tokens[-1:]) for tokens in program.steps[:6]]
    assert sorted(first) == [b"a"] * 3 + [b"b"] * 3


def test_a_beginning_that_a_running_request_has_read_is_not_read_again(make: Make) -> None:
    model, _ = make(babbling)
    with model.stream(SYSTEM + "one", max_tokens=20) as stream:
        first = next(stream).text
        done = model.chat(SYSTEM + "two", max_tokens=5)
        assert done.metrics.cached_tokens == len("u:" + SYSTEM)
        text = first + text_of(stream)
    assert text == make(babbling)[0].chat(SYSTEM + "one", max_tokens=20).text
    assert done.text == make(babbling)[0].chat(SYSTEM + "two", max_tokens=5).text


def test_a_beginning_that_is_being_read_is_waited_for_and_forked_where_it_ends(make: Make) -> None:
    model, program = make(babbling, chunk=8, grain=1000)  # it cannot go back
    reached, go = threading.Event(), threading.Event()

    def hold(_tokens: object) -> None:
        reached.set()
        go.wait(10)

    program.during = hold
    first = InThread(lambda: model.chat(SYSTEM + "one", max_tokens=3))
    assert reached.wait(10)
    others = [InThread(lambda t=t: model.chat(SYSTEM + t, max_tokens=3)) for t in ("two", "three")]  # type: ignore[misc]
    wait_until(lambda: len(lanes(model)) == 3)
    go.set()
    shared = len("u:" + SYSTEM)
    assert first.result().metrics.cached_tokens == 0
    assert [other.result().metrics.cached_tokens for other in others] == [shared, shared]
    assert shared >= WORTH_SHARING
    assert sum(map(len, program.steps)) == shared + sum(
        len(t) + len("\na:") + 2 for t in ("one", "two", "three")
    )
    for text, call in zip(("one", "two", "three"), (first, *others), strict=True):
        assert call.result().text == make(babbling)[0].chat(SYSTEM + text, max_tokens=3).text


def test_those_that_come_later_begin_where_the_first_ones_parted(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "AT_ONCE", 2)
    model, program = make(babbling, chunk=64, grain=1000)  # it cannot go back
    texts = [SYSTEM + letter for letter in "abcdef"]
    done = model.chat_many(texts, max_tokens=3)
    shared = len("u:" + SYSTEM)
    assert [answer.metrics.cached_tokens for answer in done] == [0, *[shared] * 5]
    for text, answer in zip(texts, done, strict=True):
        assert answer.text == make(babbling)[0].chat(text, max_tokens=3).text
    model.reset()
    assert open_sessions(program) == 0


def test_nobody_waits_for_a_beginning_that_was_given_up(make: Make) -> None:
    model, program = make(babbling, chunk=8)
    reached, go = threading.Event(), threading.Event()

    def hold(_tokens: object) -> None:
        reached.set()
        go.wait(10)

    program.during = hold
    stream = model.stream(SYSTEM + "one")
    first = InThread(lambda: list(stream))
    assert reached.wait(10)
    other = InThread(lambda: model.chat(SYSTEM + "two", max_tokens=3).text)
    wait_until(lambda: len(lanes(model)) == 2)
    stream.stop()
    program.during = lambda _tokens: None
    go.set()
    assert first.result() == []
    assert other.result() == make(babbling)[0].chat(SYSTEM + "two", max_tokens=3).text


# -- speculation


def test_guesses_are_made_in_a_batch_too_and_change_nothing(make: Make) -> None:
    def quoting(history: list[int], answered: int) -> int:
        said = b"the early bird catches the worm, but the second mouse gets the cheese"
        return [*said, END][answered] if answered < len(said) else END

    prompt = "the early bird catches the worm, but the second mouse gets the cheese. the early"
    model, program = make(quoting, slope=0.0, chunk=200)
    slow, plain = make(quoting, slope=1.0, chunk=200)
    fast = model.chat_many([prompt + "!" * n for n in range(4)])
    assert fast[0].tokens == slow.chat(prompt).tokens
    slow.chat_many([prompt + "!" * n for n in range(4)])
    assert len(program.steps) < len(plain.steps) / 2
    assert any(sum(len(row) > 1 for row in batch) > 1 for batch in program.batches[3:])


# -- errors


@pytest.mark.fault("F12")
def test_logits_that_are_not_numbers_end_the_request_that_they_are_of(make: Make) -> None:
    def script(history: list[int], answered: int) -> tuple[int, float]:
        ill = b"ill" in bytes(t for t in history if t < 256) and answered == 5
        return babbling(history, answered), math.nan if ill else 0.1

    model, program = make(script)
    program.during = lambda _tokens: time.sleep(0.001)
    calls = {text: InThread(lambda t=text: model.chat(t, max_tokens=12)) for text in "abc"}  # type: ignore[misc]
    calls["ill"] = InThread(lambda: model.chat("ill", max_tokens=12))
    with pytest.raises(NonFiniteLogits):
        calls.pop("ill").result()
    for text, call in calls.items():
        assert call.result().text == make(babbling)[0].chat(text, max_tokens=12).text


def test_an_error_of_a_whole_step_reaches_all_that_took_part(make: Make) -> None:
    model, program = make(babbling)

    def fail(_tokens: object) -> None:
        time.sleep(0.001)
        if program.batches and len(program.batches[-1]) == 3:
            raise MemoryError("no more")

    program.during = fail
    calls = [InThread(lambda t=t: model.chat(t, max_tokens=500)) for t in "abc"]  # type: ignore[misc]
    for call in calls:
        with pytest.raises(MemoryError):
            call.result()
    program.during = lambda _tokens: None
    assert model.chat("a", max_tokens=3).metrics.cached_tokens == 0
    assert lanes(model) == []


class Limited:
    """A program whose sessions may hold so many tokens together."""

    def __init__(self, program: Any, limit: int) -> None:
        self._program, self._limit = program, limit
        program.during = self._check

    def _check(self, tokens: Any) -> None:
        if self._program.kv_bytes + len(tokens) > self._limit:
            raise InsufficientMemory("no memory")


def test_what_is_remembered_gives_way_the_oldest_first(make: Make) -> None:
    model, program = make(babbling)
    Limited(program, 260)
    texts = [letter * 70 for letter in "abc"]
    for text in texts:
        model.chat(text, max_tokens=5)
    model.chat("d" * 100, max_tokens=5)
    (chat,) = (worker for worker in model._workers.values() if isinstance(worker, Chat))
    kept = [bytes(one.tokens[2:3]).decode() for one in chat._conversations.remembered]
    assert kept == ["c", "d"]


def test_a_request_that_gave_its_memory_up_goes_on_where_it_was(make: Make) -> None:
    expected = {t: make(babbling)[0].chat(t * 60, max_tokens=40).text for t in "abc"}
    model, program = make(babbling)
    Limited(program, 250)
    calls = {t: InThread(lambda t=t: model.chat(t * 60, max_tokens=40).text) for t in "abc"}  # type: ignore[misc]
    assert {text: call.result() for text, call in calls.items()} == expected


def test_a_stream_that_nobody_reads_gives_its_memory_up_and_is_read_on_later(make: Make) -> None:
    expected = {t: make(babbling)[0].chat(t * 60, max_tokens=40).text for t in "ab"}
    model, program = make(babbling)
    Limited(program, 130)  # one of them fits
    with model.stream("a" * 60, max_tokens=40) as stream:
        shown = [next(stream).text for _ in range(5)]
        assert model.chat("b" * 60, max_tokens=40).text == expected["b"]
        assert "".join(shown) + text_of(stream) == expected["a"]
    with model.stream("a" * 60, max_tokens=40) as one, model.stream("b" * 60, max_tokens=40) as two:
        pairs = [(a.text, b.text) for a, b in zip(one, two, strict=True)]
    assert ["".join(texts) for texts in zip(*pairs, strict=True)] == list(expected.values())


@pytest.mark.fault("F56")
def test_one_that_is_alone_and_does_not_fit_fails(make: Make) -> None:
    model, program = make(babbling)
    Limited(program, 50)
    with pytest.raises(InsufficientMemory):
        model.chat("a" * 60)
    assert open_sessions(program) == 0
    assert model.chat("a", max_tokens=5).text
