#!/usr/bin/env python3
"""What a core that other programs disturb costs, and how near the pacer comes to the best.

    python benchmarks/cores.py weights/smollm2-135m-instruct --threads 2

Tokens a second of decoding while nothing else runs; while a program that never rests is on the
last core, or one of the lowest priority (SCHED_IDLE); and while one takes that core for every
second 200 microseconds, which makes it half as fast (needs root). For each number of threads a
second native library is asked, whose steps always have all of them; it is built in build/fixed. All
sides take turns of equal time. The last column is how long the pacer's steps go on being more
than 15 % slower than the best of the quiet machine after that program has ended, in seconds.

A second table compares the quiet machine with the simulation by which the pacer is tested on
machines that are not here (tests/native/core_model.py), given this model's products and what this
machine reads and multiplies at most.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

FIXED = """
#include "pacer.h"
namespace cactus {
__attribute__((used)) static const char kMark[] = "the pacer always takes all threads";
int Pacer::next(uint32_t) { return threads_; }
void Pacer::record(int, uint32_t, double, double) {}
}
"""
MARK = b"the pacer always takes all threads"

TURN = 0.3
"""Seconds that a side decodes before it is the turn of the next, about."""


def build_fixed() -> dict[str, str]:
    """Builds the core whose pacer is fixed; the environment that imports it."""
    sys.path.insert(0, str(ROOT / "tools"))
    from other_core import package_with

    build = ROOT / "build/fixed"
    source = build / "source"
    shutil.copytree(ROOT / "native", source / "native", dirs_exist_ok=True)
    shutil.copy(ROOT / "CMakeLists.txt", source)
    (source / "native/src/pacer.cpp").write_text(FIXED)
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(["cmake", "-S", str(source), "-B", str(build), "-G", "Ninja"], **quiet)
    subprocess.run(["cmake", "--build", str(build)], **quiet)
    return package_with(build, MARK, {})


def child(model: Path, threads: int) -> None:
    """Decodes in turns, one for every line that comes in; says how many steps and seconds."""
    from cactus.engine.loading import load
    from cactus.native import Row

    program = load(model, threads=threads).program
    session = program.session()
    for _ in sys.stdin:
        session.truncate(0)
        token, steps, seconds = 1, 0, 0.0
        begin = time.perf_counter()
        while seconds < TURN and steps < 1000:
            (output,) = program.step([Row(session, [token])])
            token = output.token
            steps += 1
            seconds = time.perf_counter() - begin
        print(steps, seconds, flush=True)


class Side:
    """A process that decodes when it is asked."""

    def __init__(self, name: str, model: Path, threads: int, environment: dict[str, str]) -> None:
        self.name = name
        self.turns: list[tuple[int, float]] = []
        command = [sys.executable, __file__, str(model), "--threads", str(threads), "--child"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def ask(self) -> tuple[int, float]:
        """A turn: how many steps took how many seconds."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        steps, seconds = self.process.stdout.readline().split()
        return int(steps), float(seconds)

    @property
    def rate(self) -> float:
        """Steps a second."""
        return sum(steps for steps, _ in self.turns) / sum(seconds for _, seconds in self.turns)


def back_after(side: Side, best: float) -> float:
    """Seconds until steps are as many a second as on a quiet machine."""
    spent = 0.0
    while spent < 30:
        steps, seconds = side.ask()
        if steps / seconds >= best / 1.15:
            break
        spent += seconds
    return spent


def products_of(model: Path, speed: float) -> dict[Any, int]:
    """A step of one token as the simulation has it: of each kind of product how many."""
    from cactus.engine.loading import load
    from cactus.weights.format.layout import tile_nbytes
    from tests.native.core_model import ALONE, Product

    engine = load(model, threads=1)
    labels = engine.work().labels
    engine.close()
    found: Counter[Any] = Counter()
    for label in labels:
        op, *shape = label.split()
        if op == "linear":  # q4 576 -> 3072
            dtype, columns, rows = shape[0], int(shape[1]), int(shape[3])
            found[Product(-(-rows // 16), tile_nbytes(dtype, 16, columns), 32.0 * columns)] += 1
        else:
            found[Product(1, 0.0, ALONE * speed)] += 1
    return dict(found)


def compared(model: Path, sides: list[Side]) -> str:
    """A table of measured seconds of a step, by the number of threads, and simulated ones."""
    sys.path.insert(0, str(ROOT))
    from cactus.native import machine_peaks
    from tests.native.core_model import Machine, Steps, barrier

    counts = range(1, len(sides) + 1)
    size = model.joinpath("model.safetensors").stat().st_size
    peaks = [[machine_peaks(n, None, size) for n in counts] for _ in range(5)]
    reads = [statistics.median(each[n - 1].bytes_per_second for each in peaks) for n in counts]
    # Two dots of bytes for a product of 12 bits.
    dots = statistics.median(each[0].int8_per_second for each in peaks) / 2
    products = products_of(model, dots)
    lines = [
        "\n| threads | read, GB/s | measured, ms | simulated, ms | simulated / measured |",
        "|---|--:|--:|--:|--:|",
    ]
    for n, side in zip(counts, sides, strict=True):
        measured = statistics.median(seconds / steps for steps, seconds in side.turns)
        machine = Machine((dots,) * n, reads[0], reads[n - 1], barrier)
        simulated = Steps(products, machine, noise=0).mean(n, 1)
        lines.append(
            f"| {n} | {reads[n - 1] / 1e9:.1f} | {1e3 * measured:.2f} | {1e3 * simulated:.2f} "
            f"| {simulated / measured:.2f} |"
        )
    return "\n".join(lines)


def spin(core: int) -> None:
    """Never rests."""
    os.sched_setaffinity(0, {core})
    while True:
        pass


def spin_idle(core: int) -> None:
    """The same when nobody else wants the core."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    spin(core)


def spin_in_turns(core: int) -> None:
    """Has the core for every second 200 microseconds, whoever wants it."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    while True:
        end = time.perf_counter() + 200e-6
        while time.perf_counter() < end:
            pass
        time.sleep(200e-6)


@contextlib.contextmanager
def running(work: Callable[[int], None] | None, core: int) -> Iterator[None]:
    """A program beside this one."""
    if work is None:
        yield
        return
    pid = os.fork()
    if pid == 0:
        work(core)
    try:
        time.sleep(0.2)
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=15, help="of each condition (15)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.model, given.threads)
    fixed = build_fixed()
    sides = [Side(f"{n}", given.model, n, fixed) for n in range(1, given.threads + 1)]
    sides.append(Side("pacer", given.model, given.threads, dict(os.environ)))
    conditions = {"quiet": None, "half stolen": spin, "SCHED_IDLE": spin_idle}
    if os.geteuid() == 0:
        conditions["half as fast"] = spin_in_turns
    core = max(os.sched_getaffinity(0))
    names = " | ".join(side.name for side in sides)
    print(f"| one core is | {names} | of the best | back after, s |")
    print("|---|" + "--:|" * (len(sides) + 2))
    for name, work in conditions.items():
        with running(work, core):
            for side in sides:
                side.turns = []
                side.ask()
            end = time.monotonic() + given.seconds
            while time.monotonic() < end:
                for side in sides:
                    side.turns.append(side.ask())
        rates = [side.rate for side in sides]
        cells = [f"{rate:.0f}" for rate in rates]
        if name == "quiet":
            best = max(rates[:-1])
            alone = compared(given.model, sides[:-1])
        cells += [f"{rates[-1] / max(rates[:-1]):.2f}", f"{back_after(sides[-1], best):.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(alone)
    for side in sides:
        side.process.kill()
    return None


if __name__ == "__main__":
    main()
