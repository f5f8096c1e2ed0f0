"""Interleaved rounds: both engines, case by case, in child processes; nothing is computed here."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import bandwidth
from cases import DEEP, PROMPT, Case
from footprint import Footprint
from report import Spread, thread_text
from runner import Child, Command, Progress, evict, run_child

HERE = Path(__file__).resolve().parent
BANDWIDTH_SECONDS = 0.4
OURS, PEER = "ours", "llama.cpp"
IN_CACHE, FROM_DISK, NO_PYTHON = "in page cache", "from disk", "llama-simple (no Python)"
CHAT = "chat"
BUSY_LIMIT = 0.15
T = TypeVar("T")


@dataclass
class Side:
    """One engine: how to run a case and a first token, and what came out, round by round."""

    name: str
    run: Callable[[Case, int, str], tuple[float, Child]]
    first_token: Callable[[int], Child]
    files: list[Path]
    footprint: Footprint
    first_token_bare: Callable[[int], Child] | None = None
    rates: dict[tuple[str, int, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rss: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def best(self, case: Case, threads: int) -> tuple[list[float], str]:
        """The rates of the variant with the highest median, and that variant's name."""
        found = {
            variant: rates
            for (name, count, variant), rates in self.rates.items()
            if (name, count) == (case.name, threads)
        }
        if not found:
            return [], ""
        variant = max(found, key=lambda key: Spread.of(found[key]).median)
        return found[variant], variant


@dataclass
class Quiet:
    """Repeats a measurement that others disturbed, at most ``retries`` times; keeps the calmest.

    Both sides are treated alike and the result itself is not looked at, so this favours nobody.
    """

    retries: int
    disturbance: list[float] = field(default_factory=list)

    def measure(self, run: Callable[[], T], child_of: Callable[[T], Child]) -> T:
        """The outcome of ``run`` during which others kept the fewest cores busy."""
        best = run()
        for _ in range(self.retries):
            if child_of(best).others <= BUSY_LIMIT:
                break
            again = run()
            if child_of(again).others < child_of(best).others:
                best = again
        self.disturbance.append(child_of(best).others)
        return best


def run_ours(folder: Path, isa: str | None) -> Callable[[Case, int, str], tuple[float, Child]]:
    """Driver of our side: one child process of ours.py per measurement."""

    def run(case: Case, threads: int, attention: str) -> tuple[float, Child]:
        command: list[str | Path] = [sys.executable, HERE / "ours.py", folder]
        command += ["--threads", str(threads), "--prompt", str(case.prompt)]
        command += ["--gen", str(case.gen), "--depth", str(case.depth)]
        command += ["--repeats", str(case.repeats)]
        if isa:
            command += ["--isa", isa]
        child = run_child(command)
        samples = [float(rate) for rate in json.loads(child.stdout)["samples"]]
        return Spread.of(samples).median, child

    return run


def first_token_ours(folder: Path, isa: str | None) -> Callable[[int], Child]:
    """Driver of our start-up: a fresh Python process that chats once through the public API."""

    def run(threads: int) -> Child:
        command: Command = [
            sys.executable,
            HERE / "first_token_ours.py",
            folder,
            str(threads),
            PROMPT,
        ]
        return run_child(command, {"CACTUS_ISA": isa} if isa else None)

    return run


def measure_round(
    number: int,
    sides: list[Side],
    cases: tuple[Case, ...],
    threads: list[int],
    quiet: Quiet,
    progress: Progress,
) -> None:
    """Every case on every side; who goes first changes from round to round."""
    for count in threads:
        for case in cases:
            for side in sides if number % 2 == 0 else reversed(sides):
                # Our engine has one attention; the peer has two, neither the faster everywhere.
                both = case.both_attentions and side.name == PEER
                for attention in ("on", "off") if both else ("auto",):
                    what = f"{case.name}, {thread_text(count)}, {side.name}"
                    progress.step(f"round {number + 1}: {what}")
                    run = partial(side.run, case, count, attention)
                    rate, child = quiet.measure(run, lambda outcome: outcome[1])
                    side.rates[case.name, count, attention].append(rate)
                if case.name == DEEP:
                    side.rss[case.name, count].append(child.peak_rss / 1e6)


def measure_starts(
    number: int,
    sides: list[Side],
    threads: list[int],
    quiet: Quiet,
    progress: Progress,
    cold: bool,
) -> None:
    """Process start to first token, the model in the page cache and, if wanted, on disk only."""
    for count in threads:
        for kind in (IN_CACHE, FROM_DISK) if cold else (IN_CACHE,):
            for side in sides if number % 2 == 0 else reversed(sides):
                progress.step(f"round {number + 1}: first token {kind}, {side.name}")
                run = partial(_start, side, count, kind == FROM_DISK)
                child = quiet.measure(run, lambda outcome: outcome)
                side.starts[kind, count].append(child.first_byte_seconds)
                if kind == IN_CACHE:
                    side.rss[CHAT, count].append(child.peak_rss / 1e6)
        for side in sides:
            if side.first_token_bare is not None:
                child = quiet.measure(partial(side.first_token_bare, count), lambda it: it)
                side.starts[NO_PYTHON, count].append(child.seconds)


def _start(side: Side, threads: int, cold: bool) -> Child:
    if cold:
        evict(side.files)
    return side.first_token(threads)


def measure_bandwidth(
    program: Path, threads: list[int], weights_megabytes: int, into: dict[str, list[float]]
) -> None:
    """One sample of each kind of reading, per number of threads, in GB/s."""
    kinds = {
        "4 KiB pages": (bandwidth.LARGE_MEGABYTES, False),
        "huge pages": (bandwidth.LARGE_MEGABYTES, True),
        "weights-sized": (weights_megabytes, False),
    }
    for count in threads:
        for kind, (megabytes, huge) in kinds.items():
            rate = bandwidth.measure(program, count, megabytes, BANDWIDTH_SECONDS, huge)
            into.setdefault(f"{thread_text(count)}, {kind}", []).append(rate)


def best_bandwidth(samples: dict[str, list[float]], threads: int) -> float:
    """The larger median of the two page sizes: what fractions are taken of, in GB/s."""
    kinds = (f"{thread_text(threads)}, 4 KiB pages", f"{thread_text(threads)}, huge pages")
    return max(Spread.of(samples[kind]).median for kind in kinds)
