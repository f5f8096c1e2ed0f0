"""A step that is stopped half-way: it ends with an error, and nothing of it is left."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled, InvalidRequest
from cactus.model import Model
from cactus.native import Program, Row, Session
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed


@pytest.fixture(params=[1, 2])
def program(request: pytest.FixtureRequest, packed: Packed) -> Iterator[Program]:
    plan = programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), packed("lfm2", "q4"))
    with Program(plan.blob, packed("lfm2", "q4").path, threads=request.param) as program:
        yield program


def logits(program: Program, session: Session, tokens: list[int]) -> np.ndarray:
    return programs.logits_of(program.step([Row(session, tokens, "last")], want_logits=True))


@pytest.mark.fault("F51")
def test_a_stopped_step_leaves_its_session_usable(program: Program) -> None:
    tokens = [n % 50 for n in range(300)]
    whole = program.session()
    want = [logits(program, whole, part) for part in (tokens[:250], tokens[250:])][1]

    flag = StopFlag()
    assert not flag
    flag.set()
    session = program.session()
    logits(program, session, tokens[:250])
    with pytest.raises(Cancelled, match="stopped"):
        program.step([Row(session, tokens[:200])], stop=flag)
    # Convolutions may go back to a page boundary; what they forgot is read again.
    assert session.length <= 250
    again = tokens[session.length :]
    if len(again) > 50:
        logits(program, session, again[:-50])
    assert np.array_equal(logits(program, session, tokens[250:]), want)


@pytest.mark.fault("F51")
def test_stopped_at_any_moment_by_another_thread(program: Program) -> None:
    tokens = [n % 50 for n in range(64)]
    want = logits(program, program.session(), tokens)
    chance, stopped = random.Random(1), 0
    begun = time.perf_counter()
    logits(program, program.session(), tokens)
    usual = time.perf_counter() - begun
    for _ in range(60):
        flag, session = StopFlag(), program.session()
        timer = threading.Timer(chance.uniform(0, 1.2 * usual), flag.set)
        timer.start()
        try:
            program.step([Row(session, tokens)], stop=flag)
        except Cancelled:
            stopped += 1
        timer.join()
        session.truncate(0)
        assert np.array_equal(logits(program, session, tokens), want)
        session.close()
    assert stopped > 0


def test_a_row_that_is_stopped_does_not_end_the_step_of_others(program: Program) -> None:
    parts = [[1, 2, 3], [4, 5], [6]]
    want = [logits(program, program.session(), part) for part in parts]
    flags = [StopFlag() for _ in parts]
    for flag in flags[:2]:
        flag.set()
    sessions = [program.session() for _ in parts]
    rows = [Row(*each, stop=flag) for *each, flag in zip(sessions, parts, flags, strict=True)]
    got = programs.logits_of(program.step(rows, want_logits=True))
    assert np.array_equal(got, np.concatenate(want))
    assert [session.length for session in sessions] == [3, 2, 1]

    flags[2].set()
    with pytest.raises(Cancelled):
        program.step(rows)
    # Without a flag of its own a row is wanted.
    program.step([*rows, Row(program.session(), [7])])


def test_rows_that_are_all_stopped_by_other_threads_end_the_step(program: Program) -> None:
    tokens, flags = [n % 50 for n in range(100)], [StopFlag(), StopFlag()]
    want, ended = logits(program, program.session(), tokens), 0
    for n in range(40):
        flags = [StopFlag(), StopFlag()]
        timers = [threading.Timer(0.0002 * n, flag.set) for flag in flags]
        sessions = [program.session() for _ in flags]
        for timer in timers:
            timer.start()
        try:
            program.step(
                [Row(s, tokens, stop=flag) for s, flag in zip(sessions, flags, strict=True)]
            )
        except Cancelled:
            ended += 1
        for timer in timers:
            timer.join()
        for session in sessions:
            session.truncate(0)
            assert np.array_equal(logits(program, session, tokens), want)
    assert ended > 0


def test_after_an_exception_from_outside_a_prepared_step_tells_whether_it_ran(
    program: Program,
) -> None:
    tokens, session = [n % 50 for n in range(200)], program.session()
    (want,) = program.step([Row(program.session(), tokens)])
    pending = program.prepare([Row(session, tokens)])
    assert not pending.done
    with pytest.raises(InvalidRequest, match="not been run"):
        pending.outputs()
    main = threading.get_ident()
    interrupt = threading.Timer(0.0005, signal.pthread_kill, (main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        interrupt.start()
        pending.run()
        interrupt.join()
        time.sleep(1)
    interrupt.join()
    # The signal does not end the call into the core, only what comes after it.
    assert pending.done == (session.length == len(tokens))
    if not pending.done:
        pending.run()
    assert pending.outputs() == [want]
    with pytest.raises(InvalidRequest, match="runs once"):
        pending.run()
    assert session.length == len(tokens)


def test_a_prepared_step_that_failed_says_why_when_asked_again(program: Program) -> None:
    pending = program.prepare([Row(program.session(), [1 << 20])])
    for ask in (pending.run, pending.outputs):
        with pytest.raises(InvalidRequest, match="token 1048576"):
            ask()
        assert not pending.done


def test_a_chat_that_is_stopped_inside_a_step_goes_on_as_if_it_had_not_begun(
    tiny_model: Path,
) -> None:
    messages = [{"role": "user", "content": "abc " * 100}]
    with Model(tiny_model, threads=2) as model:
        want = model.chat(messages, max_tokens=8)
        model.reset()
        begun = time.perf_counter()
        model.chat(messages, max_tokens=1)
        usual, cancelled = time.perf_counter() - begun, 0
        for part in range(40):
            model.reset()
            timer = threading.Timer(usual * part / 30, model.stop)
            timer.start()
            done = model.chat(messages, max_tokens=8)
            timer.join()
            if done.finish_reason == "cancelled":
                cancelled += 1
                assert want.tokens[: len(done.tokens)] == done.tokens
            again = model.chat(messages, max_tokens=8)
            assert (again.tokens, again.logprobs) == (want.tokens, want.logprobs)
        assert cancelled > 0
