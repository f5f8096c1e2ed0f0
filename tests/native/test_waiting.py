"""Who waits for a step: only what needs one of its sessions, and then only until its end.

Each test has a step that would take seconds and is stopped at its end: where it could be stopped,
nothing before that has waited for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled, ModelClosed
from cactus.native import Program, Row, Session
from cactus.native.library import load
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed

LONG = 4096
"""Tokens of a step that takes seconds with the plainest kernels."""


@pytest.fixture
def program(packed: Packed) -> Iterator[Program]:
    graph = programs.fused(golden.load("llama").graph, "q8")
    options = {"context": LONG, "chunk": LONG, "threads": 1, "isa": "scalar"}
    with programs.load(graph, packed("llama", "q8"), **options) as program:
        yield program


@contextmanager
def long_step(program: Program, session: Session) -> Iterator[None]:
    """A step of the session runs in another thread; afterwards it must have been stopped."""
    flag, cancelled, before = StopFlag(), threading.Event(), program.kv_bytes

    def work() -> None:
        try:
            program.step([Row(session, [1] * (LONG - 64), "none")], stop=flag)
        except Cancelled:
            cancelled.set()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        # Its pages are there once it has begun.
        while program.kv_bytes == before and worker.is_alive():
            time.sleep(0.001)
        yield
    finally:
        flag.set()
        worker.join(60)
    assert cancelled.is_set()


def test_what_a_step_does_not_name_is_free_meanwhile(program: Program) -> None:
    free, busy = program.session(), program.session()
    program.step([Row(free, [1, 2, 3], "none")])
    with long_step(program, busy):
        assert free.truncate(2) == 2
        with free.fork() as copy:
            assert copy.length == 2
            copy.truncate(1)
            free.restore(copy)
        assert (free.length, free.memory_length) == (1, 0)
        with program.session() as fresh:
            assert fresh.length == 0


def test_the_length_of_a_session_does_not_wait_for_its_step(program: Program) -> None:
    session = program.session()
    with long_step(program, session):
        assert (session.length, session.memory_length) == (0, 0)


@pytest.mark.fault("F52")
def test_a_session_can_be_closed_while_a_step_uses_it(program: Program) -> None:
    session = program.session()
    with long_step(program, session):
        session.close()
        with pytest.raises(ModelClosed):
            _ = session.length
    assert program.kv_bytes == 0, "its memory is given back when the step ends"


@pytest.mark.fault("F52")
def test_a_program_can_be_closed_while_it_steps(program: Program) -> None:
    session = program.session()
    with long_step(program, session):
        load().cactus_program_destroy(program.id)
        assert session.length == 0
    with pytest.raises(ModelClosed):
        program.session()


@pytest.mark.parametrize(
    "change",
    [
        lambda session, other: session.truncate(1),
        lambda session, other: session.fork(),
        lambda session, other: session.restore(other),
        lambda session, other: other.restore(session),
    ],
    ids=["truncate", "fork", "restore", "restore from it"],
)
def test_what_changes_a_session_waits_for_its_step(
    program: Program, change: Callable[[Session, Session], object]
) -> None:
    session, other = program.session(), program.session()
    program.step([Row(session, [1, 2], "none"), Row(other, [3], "none")])
    changer = threading.Thread(target=change, args=(session, other))
    with long_step(program, session):
        changer.start()
        changer.join(0.05)
        assert changer.is_alive()
    changer.join(60)
    assert not changer.is_alive()
    program.step([Row(session, [4], "none"), Row(other, [5], "none")])
