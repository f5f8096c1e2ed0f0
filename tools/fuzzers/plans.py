"""Plans of tokens and of features, loaded by the native core and run.

Correct plans are taken apart, some fields of their records are changed, steps are moved between
plans, and what the core accepts is run: a prompt of more than a page, a batch with a fork, a
truncation, logits of all rows. It ends in an error of ours; with `tools/sanitize.py address`, what
the core reads and writes is watched.
"""

from __future__ import annotations

import contextlib
import copy
import random
from pathlib import Path
from typing import Any

import numpy as np

from cactus.errors import CactusError
from cactus.graph.node import Graph
from cactus.graph.plan import NATIVE_OPS
from cactus.graph.plan import build as build_plan
from cactus.native import Program, Row, Session
from cactus.vision.parts import tower_graph
from fuzzers.base import Case, Fuzzer
from tests.models import encoders, golden, vision, whisper
from tests.native import programs
from tests.native.op_runs import with_logits
from tests.native.plan_forge import Forge
from tests.ops.cases import CASES, build

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
    for graph, tensors, size in other_graphs(folder):
        store = programs.store(graph, tensors, folder / "other", "q8")
        made = build_plan(
            programs.fused(graph, "q8"), store.tensors, vocab_size=size, context_length=64
        )
        found.append(Forge.of(made.blob))
    for case in (case for cases in CASES.values() for case in (cases[0], cases[-1])):
        built = build(case)
        graph = with_logits(built)
        store = programs.store(graph, built.tensors, folder / "case", "f32")
        found.append(Forge.of(programs.plan_of(graph, store).blob))
    for plan in found:
        plan.weights = [(*w[:4], w[4] if w[4] + w[5] <= WEIGHTS else 0, w[5]) for w in plan.weights]
    return found


def other_graphs(folder: Path) -> list[tuple[Graph, Any, int]]:
    """What speech, texts and images are read with, each with its tensors and its vocabulary."""
    speech = whisper.load()
    found: list[tuple[Graph, Any, int]] = [
        (speech.decoder, speech.tensors, 320),
        (speech.encoder, speech.tensors, 0),
    ]
    for name in ("bert", "modernbert"):
        text = encoders.load(name, encoders.write(name, folder / f"checkpoint-{name}"))
        found.append((text.graph, text.tensors, 320))
    for name in ("gemma3", "qwen2_5_vl"):
        seen = vision.load(name, folder)
        found.append((tower_graph(seen.architecture), seen.tensors, 0))
        found.append((seen.architecture.build(), seen.tensors, 320))
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


class Fuzz(Fuzzer):
    """Plans, all with the same weights."""

    errors = (CactusError,)
    by_message = True
    cpu_seconds = 10.0
    memory = 1 << 30

    def __init__(self, scratch: Path) -> None:
        self.plans = seeds(scratch)
        self.path = scratch / "weights"
        values = np.random.default_rng(0).standard_normal(WEIGHTS // 4).astype(np.float32)
        self.path.write_bytes((values * 0.1).tobytes())

    def make(self, rng: random.Random) -> Case:
        """A changed plan."""
        while True:
            plan = copy.deepcopy(rng.choice(self.plans))
            try:
                for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
                    change(rng, plan, self.plans)
                return Case("features" if plan.features else "tokens", plan.build())
            except Exception:
                continue  # a number that its field cannot hold

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """One that did something new, changed by its records where it still has some."""
        try:
            plan = Forge.of(case.data)
            change(rng, plan, [Forge.of(other.data), plan])
            return Case(case.kind, plan.build())
        except Exception:
            return super().mutate(rng, case, other)

    def run(self, case: Case) -> None:
        """Load it and step it in several ways."""
        run(case.data, self.path, case.chance())
