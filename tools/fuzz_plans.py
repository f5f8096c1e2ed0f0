#!/usr/bin/env python3
"""Fuzz the native core with plans that are almost right.

    python tools/fuzz_plans.py --seconds 600 --seed 1

Correct plans, of tokens and of features, are taken apart, some fields of their records are changed,
steps are moved between plans, and what the core accepts is run: a prompt of more than a page, a
batch with a fork, a truncation, logits of all rows. A child process does the work. That it dies,
that a plan takes it more than ten seconds of processor time or more memory than it deserves, or
that an error comes that is not of the core's is a finding: it is printed with what repeats it.
Exit status 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import mmap
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT)]

from cactus.errors import CactusError  # noqa: E402
from cactus.graph.plan import NATIVE_OPS  # noqa: E402
from cactus.native import Program, Row, Session  # noqa: E402
from tests.models import golden  # noqa: E402
from tests.native import programs  # noqa: E402
from tests.native.op_runs import with_logits  # noqa: E402
from tests.native.plan_forge import Forge  # noqa: E402
from tests.ops.cases import CASES, build  # noqa: E402

MEMORY = 1 << 30
CPU_SECONDS = 10
WALL_SECONDS = 300
WEIGHTS = 1 << 20
NUMBERS = (
    *(0, 1, 2, 3, 15, 16, 17, 31, 32, 48, 64, 128, 255, 256, 257, 512, 1024, 4096, 1 << 16),
    *(1 << 20, 1 << 21, 1 << 24, (1 << 31) - 1),
)
MODELS = ("llama", "lfm2", "gemma3_text", "qwen3")


def seeds(folder: Path) -> list[Forge]:
    """Plans of small models and of single operations, features among them; all weights at 0."""
    found = []
    for name in MODELS:
        checkpoint = golden.load(name)
        graph = programs.fused(checkpoint.graph, "q4")
        store = programs.store(graph, checkpoint.tensors, folder / name, "q4")
        found.append(Forge.of(programs.plan_of(graph, store).blob))
    for case in (case for cases in CASES.values() for case in (cases[0], cases[-1])):
        built = build(case)
        graph = with_logits(built)
        store = programs.store(graph, built.tensors, folder / "case", "f32")
        found.append(Forge.of(programs.plan_of(graph, store).blob))
    for plan in found:
        plan.weights = [(*w[:4], w[4] if w[4] + w[5] <= WEIGHTS else 0, w[5]) for w in plan.weights]
    return found


def change(rng: random.Random, plan: Forge, others: list[Forge]) -> None:
    """Change one thing of a plan."""
    parts = [plan.weights, plan.buffers, plan.slots, plan.steps, plan.steps, plan.steps]
    part = rng.choice([part for part in parts if part])
    action = rng.randrange(10)
    if action == 0:
        field = rng.choice(("vocab_size", "context_length", "output", "features"))
        widths = [buffer[1] for buffer in plan.buffers]
        setattr(plan, field, rng.choice([*NUMBERS, *widths, 0]))
    elif action == 1:
        # A plan of features with the steps of a plan of tokens, or the other way round.
        other = rng.choice(others)
        plan.features = 0 if plan.features else rng.choice(plan.buffers)[1]
        plan.slots = copy.copy(other.slots) if rng.random() < 0.5 else plan.slots
    elif action == 2:
        donor = rng.choice(rng.choice(others).steps)
        plan.steps[rng.randrange(len(plan.steps))] = list(donor)
    elif action == 3:
        plan.steps.insert(rng.randrange(len(plan.steps)), list(rng.choice(plan.steps)))
    elif action == 4 and len(plan.steps) > 1:
        del plan.steps[rng.randrange(len(plan.steps))]
    elif action == 5:
        step = rng.choice(plan.steps)
        step[0] = rng.choice(tuple(NATIVE_OPS.values()))
        step[13] = rng.randrange(-1, len(plan.slots) + 1)
    else:
        index = rng.randrange(len(part))
        record = list(part[index])
        at = rng.randrange(len(record))
        value = rng.choice(NUMBERS) if rng.random() < 0.6 else rng.choice(rng.choice(part))
        if isinstance(record[at], float):
            value = rng.choice((0.0, 1.0, -1.0, 1e-30, 1e30, float("nan"), float("inf")))
        record[at] = type(record[at])(value)
        part[index] = record if part is plan.steps else tuple(record)  # type: ignore[call-overload]


def run(blob: bytes, path: Path, rng: random.Random) -> None:
    """Load a plan and step it in several ways; errors of the core are what may come of it."""
    chunk = rng.choice((8, 300, 600))
    with Program(blob, path, threads=rng.choice((1, 1, 1, 2)), chunk=chunk) as program:
        session = program.session()

        def rows(of: Session, count: int, outputs: str) -> Row:
            width, axes = program.info.features, program.info.axes
            features = positions = None
            if width != 0:
                count = min(count, max(1, (1 << 24) // width))
                features = np.ones((count, width), np.float32)
            if axes != 0:
                positions = np.full((count, axes), rng.choice((0, 7, -3, 1 << 30)), np.int32)
            # Rows of features, or some among tokens: the one that the program does not take fails.
            tokens = [rng.randrange(-min(count, 9) if width else 0, 16) for _ in range(count)]
            given: Any = tokens if width == 0 or rng.random() < 0.5 else ()
            options: Any = {"outputs": outputs, "features": features, "positions": positions}
            return Row(of, given, **options)

        for count in rng.sample((1, 5, chunk, chunk), 3):
            with contextlib.suppress(CactusError):
                program.step([rows(session, count, rng.choice(("all", "last", "none")))])
        fork = session.fork()
        with contextlib.suppress(CactusError):
            program.step([rows(session, 2, "last"), rows(fork, 3, "all")])
        session.truncate(rng.choice((0, 3, 256, 290)))
        with contextlib.suppress(CactusError):
            program.step([rows(session, 4, "all")], want_logits=True)


def one(seed: int, index: int, plans: list[Forge], path: Path) -> str:
    """Make plan number ``index`` and run it; returns how that ended."""
    rng = random.Random(f"{seed}/{index}")
    plan = copy.deepcopy(rng.choice(plans))
    try:
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            change(rng, plan, plans)
        blob = plan.build()
    except Exception:  # a number that its field cannot hold
        return "not a plan"
    try:
        run(blob, path, rng)
    except CactusError as error:
        return type(error).__name__
    return "ran"


def work(
    seed: int, first: int, end: float, plans: list[Forge], path: Path, state: mmap.mmap
) -> None:
    """In the child: plan after plan; the number of the one in hand is where the parent sees it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    index = first
    while time.monotonic() < end:
        state[:8] = index.to_bytes(8, "little")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.alarm(WALL_SECONDS)
        ending = one(seed, index, plans, path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        index += 1
        at = 8 + 8 * ("ran", "not a plan").index(ending) if ending in ("ran", "not a plan") else 24
        state[at : at + 8] = (int.from_bytes(state[at : at + 8], "little") + 1).to_bytes(
            8, "little"
        )
    state[:8] = index.to_bytes(8, "little")


def fuzz(seconds: float, seed: int) -> int:
    """Fuzz for some seconds; returns the number of findings."""
    findings, state = 0, mmap.mmap(-1, 64)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plans = seeds(folder)
        path = folder / "weights"
        values = np.random.default_rng(seed).standard_normal(WEIGHTS // 4).astype(np.float32)
        path.write_bytes((values * 0.1).tobytes())
        end, first = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            child = os.fork()
            if child == 0:
                try:
                    work(seed, first, end, plans, path, state)
                    os._exit(0)
                except BaseException as error:
                    print(f"{type(error).__name__}: {error}", flush=True)
                    os._exit(1)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            first = int.from_bytes(state[:8], "little") + 1
            if code != 0:
                findings += 1
                reason = signal.Signals(-code).name if code < 0 else "an unexpected error"
                print(f"FINDING: {reason}; again with --seed {seed} --only {first - 1}", flush=True)
    ran, useless, refused = (int.from_bytes(state[at : at + 8], "little") for at in (8, 16, 24))
    counts = Counter({"ran": ran, "refused": refused, "not a plan": useless})
    print(f"{sum(counts.values())} plans, {dict(counts)}, {findings} findings")
    return findings


def again(seed: int, index: int) -> None:
    """Run one plan in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plans = seeds(folder)
        values = np.random.default_rng(seed).standard_normal(WEIGHTS // 4).astype(np.float32)
        (folder / "weights").write_bytes((values * 0.1).tobytes())
        print(one(seed, index, plans, folder / "weights"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the native core with plans.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this plan of the seed, in this process")
    options = parser.parse_args()
    if options.only is not None:
        again(options.seed, options.only)
        return 0
    return 1 if fuzz(options.seconds, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
