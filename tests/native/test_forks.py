"""Forks while other threads are busy: the child gets errors, never a lock that nobody releases."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import ForkError
from cactus.native import Program, Row, Sampler
from cactus.weights.format.tiles import pack_plain
from tests.native.plan_forge import Forge

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="fork exists on POSIX only"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

VOCABULARY = 1 << 18


def logits_program(path: Path) -> Program:
    """A program whose logits are rows of a file: almost all of a step is the sampler's."""
    table = np.random.default_rng(1).standard_normal((16, VOCABULARY)).astype(np.float32)
    path.write_bytes(np.ascontiguousarray(pack_plain(table)).tobytes())
    plan = Forge(vocab_size=VOCABULARY)
    plan.weights.append((0, 16, VOCABULARY, 1, 0, 4 * 16 * VOCABULARY))
    rows = plan.buffer(VOCABULARY)
    plan.step("embed", (), rows, weight=0)
    return Program(plan.outputs(rows), path, threads=1, chunk=1)


def in_a_child(use: list[object]) -> int:
    """The exit code of a child in which each call of ``use`` must raise ForkError; -9: it hung."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            for call in use:
                try:
                    call()  # type: ignore[operator]
                except ForkError:
                    continue
                os._exit(2)
            code = 0
        os._exit(code)
    deadline = threading.Timer(20, os.kill, (child, signal.SIGKILL))
    deadline.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        deadline.cancel()


@pytest.mark.fault("F55")
def test_a_sampler_of_the_parent_is_an_error_in_its_child(tmp_path: Path) -> None:
    with logits_program(tmp_path / "weights") as program, Sampler(temperature=1.0) as sampler:
        session, done = program.session(), threading.Event()

        def sample() -> None:
            while not done.is_set():
                program.step([Row(session, [1], "last", sampler)])
                session.truncate(0)

        def set_mask() -> None:
            sampler.allow(None)

        worker = threading.Thread(target=sample)
        worker.start()
        try:
            for _ in range(8):
                time.sleep(0.02)
                assert in_a_child([lambda: sampler.accept([1]), set_mask]) == 0
            assert in_a_child([sampler.close]) == 2, "to close it is no error"
        finally:
            done.set()
            worker.join()


def test_a_program_of_the_child_refuses_its_parents_sampler(tmp_path: Path) -> None:
    with Sampler() as sampler:

        def step() -> None:
            with logits_program(tmp_path / "weights") as program:
                program.step([Row(program.session(), [1], "last", sampler)])

        assert in_a_child([step]) == 0
