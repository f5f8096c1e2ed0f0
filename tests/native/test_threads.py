"""The threads of a process: one team for all programs, which sleeps, ends and works together."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cactus.native import Program, Row
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed

ROOT = Path(__file__).resolve().parents[2]

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")

COUNT = """
import sys, time
from pathlib import Path
from cactus.native import Program, Row

def team():
    tasks = [task for task in Path("/proc/self/task").iterdir()]
    return [t for t in tasks if (t / "comm").read_text().startswith("cactus-")]

def states():
    return {(t / "stat").read_text().rsplit(") ", 1)[1][0] for t in team()}

blob, path = Path(sys.argv[1]).read_bytes(), sys.argv[2]
opened = [Program(blob, path, threads=4) for _ in range(10)]
print(len(team()))
for program in opened:
    program.step([Row(program.session(), [1, 2, 3])])
deadline = time.monotonic() + 30
while states() != {"S"} and time.monotonic() < deadline:
    time.sleep(0.01)
print(*states())
for program in opened:
    program.close()
deadline = time.monotonic() + 30
while team() and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(team()))
with Program(blob, path, threads=2) as program:
    program.step([Row(program.session(), [1, 2, 3])])
    print(len(team()))
"""


@needs_linux
def test_ten_models_have_the_threads_of_one_and_leave_none(packed: Packed, tmp_path: Path) -> None:
    store = packed("llama", "q4")
    graph = programs.fused(golden.load("llama").graph, "q4")
    blob = tmp_path / "plan"
    blob.write_bytes(programs.plan_of(graph, store).blob)
    command = [sys.executable, "-c", COUNT, str(blob), str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    workers, states, left, again = done.stdout.split()
    assert int(workers) == min(30, max(len(os.sched_getaffinity(0)), 4) - 1), done.stderr
    assert states == "S"
    assert int(left) == 0
    assert int(again) == 1


SMALL_STACKS = """
import ctypes, sys
from pathlib import Path
from cactus.native import Program
from tests.models import golden

pthread, attributes = ctypes.CDLL(None), ctypes.create_string_buffer(64)
pthread.pthread_attr_init(attributes)
assert pthread.pthread_attr_setstacksize(attributes, ctypes.c_size_t(32 << 10)) == 0
assert pthread.pthread_setattr_default_np(attributes) == 0
blob, path = Path(sys.argv[1]).read_bytes(), sys.argv[2]
with Program(blob, path, threads=4) as program:
    print(*golden.greedy(program, [1, 2, 3] * 20, 8))
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "pthread_setattr_default_np"), reason="of glibc and musl"
)
def test_threads_have_their_stack_where_the_system_gives_little(
    packed: Packed, tmp_path: Path
) -> None:
    store = packed("llama", "q4")
    graph = programs.fused(golden.load("llama").graph, "q4")
    plan = programs.plan_of(graph, store, kv="int8")  # what is stored is turned on the stack
    with Program(plan.blob, store.path) as program:
        want = golden.greedy(program, [1, 2, 3] * 20, 8)
    blob = tmp_path / "plan"
    blob.write_bytes(plan.blob)
    command = [sys.executable, "-c", SMALL_STACKS, str(blob), str(store.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [int(token) for token in done.stdout.split()] == want


def test_programs_of_any_threads_work_at_once(packed: Packed) -> None:
    """More threads than cores in all, so that steps wait for one another, too."""
    store = packed("lfm2", "q4")
    plan = programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), store)
    opened = [Program(plan.blob, store.path, threads=n) for n in (1, 2, 3, 4, 2)]
    prompts = [[1 + n, 2, 3] * 20 for n in range(len(opened))]
    want = [golden.greedy(opened[0], prompt, 12) for prompt in prompts]
    got: list[list[list[int]]] = [[] for _ in opened]

    def work(n: int) -> None:
        for _ in range(3):
            got[n].append(golden.greedy(opened[n], prompts[n], 12))

    workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(len(opened))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive(), "steps wait for one another for ever"
    assert got == [[tokens] * 3 for tokens in want]
    for program in opened:
        program.close()


def test_programs_come_and_go_while_others_step(packed: Packed) -> None:
    store = packed("llama", "q4")
    plan = programs.plan_of(programs.fused(golden.load("llama").graph, "q4"), store)
    with Program(plan.blob, store.path, threads=3) as stays:
        want = golden.greedy(stays, [1, 2, 3], 8)
        done, wrong = threading.Event(), []

        def work() -> None:
            while not done.is_set():
                if golden.greedy(stays, [1, 2, 3], 8) != want:
                    wrong.append(True)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        end = time.monotonic() + 2
        count = 0
        while time.monotonic() < end or count == 0:
            with Program(plan.blob, store.path, threads=1 + count % 6) as program:
                program.step([Row(program.session(), [1, 2, 3])])
            count += 1
        done.set()
        worker.join(60)
        assert not worker.is_alive()
        assert wrong == []


@pytest.mark.parametrize("name", ["llama", "lfm2"])
def test_sixty_four_threads_equal_one(packed: Packed, name: str) -> None:
    """Far more than cores: each share is taken over by others at one time or another."""
    store = packed(name, "q4")
    graph = programs.fused(golden.load(name).graph, "q4")
    tokens = [1 + n % 200 for n in range(300)]
    results = []
    for threads in (1, 64):
        with programs.load(graph, store, threads=threads, chunk=512) as program:
            session = program.session()
            read = programs.prefill(program, session, tokens, 256)
            written = programs.prefill(program, session, tokens[:3], 1)
            results.append(np.concatenate([read, written]))
    np.testing.assert_array_equal(results[0], results[1])
