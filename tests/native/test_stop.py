"""A step that is stopped half-way: it ends with an error, and nothing of it is left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import Cancelled
from cactus.model import Model
from cactus.native import Program, Row, Session
from cactus.stop_flag import StopFlag
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
