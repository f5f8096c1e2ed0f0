"""What the memory of keys and values costs beside a step: new pages, and the copies of forks.

    python benchmarks/pages.py [--rounds 30]

Plans of attention alone, in the shapes of published models, so that what a step does with pages is
not lost in its matrices. Times are processor time of the one thread that computes, which other
programs on the machine hardly change: medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from cactus.native import Program, Row, Session
from tests.native.plan_forge import Forge

BEAMS = 5


@dataclass(frozen=True)
class Shape:
    """The attention layers of a model."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int


QWEN3 = Shape("qwen3-0.6b", 28, 16, 8, 128)
LARGE = Shape("whisper-large-v3", 32, 20, 20, 64)


def attention_program(shape: Shape, folder: Path) -> Program:
    """Every layer attends with the same rows of an embedding."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    width = queries + 2 * keys
    plan = Forge(context_length=4096)
    plan.weights.append((0, 16, width, 1, 0, 64 * width))
    rows, out = plan.buffer(width), plan.buffer(queries)
    plan.step("embed", (), rows, weight=0)
    inputs = ((rows, 0), (rows, queries), (rows, queries + keys))
    integers = (shape.heads, shape.kv_heads, shape.head_dim)
    for _ in range(shape.layers):
        slot = plan.slot("kv", shape.kv_heads, shape.head_dim)
        plan.step("attention", inputs, out, slot=slot, integers=integers, floats=(0.1,))
    path = folder / shape.name
    with path.open("wb") as file:
        file.truncate(64 * width)
    return Program(plan.outputs(out), path, threads=1, chunk=256)


def step(program: Program, sessions: list[Session]) -> float:
    """One token of each session; processor seconds."""
    begin = time.thread_time()
    program.step([Row(session, [1], "none") for session in sessions])
    return time.thread_time() - begin


def median(values: list[float]) -> str:
    """In milliseconds."""
    return f"{1000 * statistics.median(values):7.2f}"


def new_pages(program: Program, rounds: int) -> None:
    """The first token of a session, and those at which a new page begins."""
    first, boundary, others = [], [], []
    for _ in range(rounds):
        with program.session() as session:
            first.append(step(program, [session]))
            program.step([Row(session, [1] * 250, "none")])
            for position in range(251, 261):
                (boundary if position == 256 else others).append(step(program, [session]))
    print(f"  first token {median(first)}   token 257 {median(boundary)}   others {median(others)}")


def beams(program: Program, rounds: int) -> None:
    """Five beams that all go on from one of them, at every step; and five that do not fork."""
    for length in (10, 100, 200):
        with program.session() as root:
            program.step([Row(root, [1] * length, "none")])
            apart = [root.fork() for _ in range(BEAMS)]
            step(program, apart)
            plain = [step(program, apart) for _ in range(rounds)]
            forked = []
            sessions = apart
            for n in range(rounds):
                begin = time.thread_time()
                new = [sessions[n % BEAMS].fork() for _ in range(BEAMS)]
                for session in sessions:
                    session.close()
                sessions = new
                program.step([Row(session, [1], "none") for session in sessions])
                forked.append(time.thread_time() - begin)
            for session in sessions:
                session.close()
            copies = statistics.median(forked) - statistics.median(plain)
            print(
                f"  at {length:3} tokens: a step {median(plain)}   with forks {median(forked)}"
                f"   copies {1000 * copies:7.2f}"
            )


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with attention_program(QWEN3, Path(folder)) as program:
            print(f"{QWEN3.name}: new sessions, ms")
            new_pages(program, given.rounds)
        with attention_program(LARGE, Path(folder)) as program:
            print(f"{LARGE.name}: {BEAMS} beams, ms a step")
            beams(program, given.rounds)


if __name__ == "__main__":
    main()
