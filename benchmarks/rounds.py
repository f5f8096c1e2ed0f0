"""Interleaved rounds: all sides, case by case, in child processes; nothing is computed here."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import peaks
from cases import DEEP, Case, lineage
from report import Spread, thread_text
from runner import CAN_EVICT, Child, Progress, evict
from search import How
from sides import Side

IN_CACHE, FROM_DISK = "start to first token, in page cache", "start to first token, from disk"
NO_PYTHON, IMPORT = "llama-simple (no Python), start to end", "import cactus"
CHAT = "chat"
BUSY_LIMIT = 0.15
T = TypeVar("T")


def add_rounds(parser: ArgumentParser) -> None:
    """The options of every comparison in rounds."""
    add = parser.add_argument
    add("--threads", default="1,2", help="thread counts (default: 1,2)")
    add("--rounds", type=int, default=3, help="interleaved rounds (default: 3)")
    add("--retries", type=int, default=1, help="repeats of a disturbed measurement (default: 1)")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")


@dataclass
class Contest:
    """One comparison: sides of ours, and peers, on one model, case by case.

    ``starts``: also the time to the first token. ``most_threads``: with no other number of them.
    ``kv_bytes``: K and V of one token of context.
    """

    model: str
    ours: list[Side]
    peers: list[Side]
    cases: tuple[Case, ...]
    kv_bytes: int = 0
    starts: bool = False
    most_threads: bool = False

    @property
    def sides(self) -> list[Side]:
        """All of them, ours first."""
        return [*self.ours, *self.peers]

    def todo(self, number: int, threads: list[int], long_rounds: int) -> list[tuple[int, Case]]:
        """(threads, case) of a round: long cases in the first rounds, with the most threads."""
        return [
            (count, case)
            for count in threads
            for case in self.cases
            if count == max(threads) or not (case.long or self.most_threads)
            if number < long_rounds or not case.long
        ]

    def in_turn(self, number: int, case: Case | None = None) -> list[Side]:
        """Who runs a case, or starts, in a round: another goes first in each."""
        sides = [
            side
            for side in self.sides
            if (side.can_run(case) if case else side.first_token is not None)
        ]
        first = number % max(len(sides), 1)
        return sides[first:] + sides[:first]


@dataclass
class Quiet:
    """Repeats a measurement that others disturbed, at most ``retries`` times; keeps the calmest.

    All sides are treated alike and the result itself is not looked at, so this favours nobody.
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


def search_configurations(
    contest: Contest, threads: int, how: How, quiet: Quiet, progress: Progress
) -> None:
    """Every peer's best configuration for every case, found with the most threads.

    A case that another is like comes before it, so that its search can start from there.
    """

    def measure(run: Callable[[], tuple[float, Child]]) -> tuple[float, bool]:
        rate, child = quiet.measure(run, lambda outcome: outcome[1])
        return rate, child.others <= BUSY_LIMIT

    cases = {each.name: each for case in contest.cases for each in lineage(case)}
    for side in contest.peers:
        for case in cases.values():
            if side.build and side.can_run(case):
                progress.show(f"configuration: {contest.model}, {case.name}, {side.name}")
                side.search(case, threads, how, measure)


def measure_round(
    number: int,
    contest: Contest,
    todo: list[tuple[int, Case]],
    quiet: Quiet,
    progress: Progress,
) -> None:
    """Every case on every side that can run it."""
    for count, case in todo:
        for side in contest.in_turn(number, case):
            what = f"{contest.model}, {case.name}, {thread_text(count)}, {side.name}"
            progress.step(f"round {number + 1}: {what}")
            run = partial(side.run, case, count, side.configuration(case.name))
            rate, child = quiet.measure(run, lambda outcome: outcome[1])
            side.rates[case.name, count].append(rate)
            if case.name == DEEP:
                side.rss[case.name, count].append(child.peak_rss / 1e6)


def start_kinds(quick: bool) -> tuple[str, ...]:
    """How a start is measured: the model in the page cache and, if possible, on disk only."""
    return (IN_CACHE, FROM_DISK) if CAN_EVICT and not quick else (IN_CACHE,)


def measure_starts(
    number: int,
    contest: Contest,
    threads: list[int],
    kinds: tuple[str, ...],
    quiet: Quiet,
    progress: Progress,
) -> None:
    """Process start to first token, and what of it is importing."""
    for count in threads:
        for kind in kinds:
            for side in contest.in_turn(number):
                progress.step(f"round {number + 1}: {kind}, {side.name}")
                run = partial(_start, side, count, kind == FROM_DISK)
                child = quiet.measure(run, lambda outcome: outcome)
                side.starts[kind, count].append(child.first_byte_seconds)
                if kind == IN_CACHE:
                    side.rss[CHAT, count].append(child.peak_rss / 1e6)
        for side in contest.in_turn(number):
            if side.first_token_bare is not None:
                child = quiet.measure(partial(side.first_token_bare, count), lambda it: it)
                side.starts[NO_PYTHON, count].append(child.seconds)
            if side.import_time is not None and count == threads[0]:
                child = quiet.measure(side.import_time, lambda it: it)
                side.starts[IMPORT, count].append(float(child.stdout))


def _start(side: Side, threads: int, cold: bool) -> Child:
    if cold:
        evict(side.files)
    assert side.first_token is not None
    return side.first_token(threads)


def measure_peaks(
    threads: list[int], weights: int, quiet: Quiet, into: dict[str, list[float]]
) -> None:
    """One sample of each peak per number of threads; ``weights``: bytes of a model's weights."""
    for count in threads:
        large, small = (
            json.loads(quiet.measure(partial(peaks.measure, count, size), lambda it: it).stdout)
            for size in (peaks.LARGE, weights)
        )
        found = {
            _reading(count, peaks.LARGE): large["bytes_per_second"] * 1e-9,
            _reading(count, weights): small["bytes_per_second"] * 1e-9,
            f"int8 dots, {thread_text(count)}, GOP/s": large["int8_per_second"] * 1e-9,
        }
        for name, value in found.items():
            into.setdefault(name, []).append(value)


def _reading(threads: int, nbytes: int) -> str:
    return f"reading {nbytes >> 20} MiB, {thread_text(threads)}, GB/s"


def bandwidth(samples: dict[str, list[float]], threads: int) -> float:
    """The median of reading a buffer that fits no cache: what fractions are taken of, in GB/s."""
    return Spread.of(samples[_reading(threads, peaks.LARGE)]).median
