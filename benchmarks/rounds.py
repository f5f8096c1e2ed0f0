"""Interleaved rounds: all sides, case by case, in child processes; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import bandwidth
from cases import DEEP, Case
from report import Spread, thread_text
from runner import CAN_EVICT, Child, Progress, evict
from sides import Side

BANDWIDTH_SECONDS = 0.4
IN_CACHE, FROM_DISK = "start to first token, in page cache", "start to first token, from disk"
NO_PYTHON, IMPORT = "llama-simple (no Python), start to end", "import cactus"
CHAT = "chat"
BUSY_LIMIT = 0.15
T = TypeVar("T")


@dataclass
class Pair:
    """One comparison: two sides on one model, case by case.

    ``starts``: also the time to the first token. ``kv_bytes``: K and V of one token of context.
    """

    model: str
    ours: Side
    peer: Side
    cases: tuple[Case, ...]
    kv_bytes: int = 0
    starts: bool = False

    def todo(self, number: int, threads: list[int], long_rounds: int) -> list[tuple[int, Case]]:
        """(threads, case) of a round: long cases in the first rounds, with the most threads."""
        return [
            (count, case)
            for count in threads
            for case in self.cases
            if not case.long or (number < long_rounds and count == max(threads))
        ]


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


def measure_round(
    number: int,
    pair: Pair,
    todo: list[tuple[int, Case]],
    quiet: Quiet,
    progress: Progress,
) -> None:
    """Every case on both sides; who goes first changes from round to round."""
    for count, case in todo:
        for side in in_turn(number, pair):
            for attention in side.variants(case):
                what = f"{pair.model}, {case.name}, {thread_text(count)}, {side.name}"
                progress.step(f"round {number + 1}: {what}")
                run = partial(side.run, case, count, attention)
                rate, child = quiet.measure(run, lambda outcome: outcome[1])
                side.rates[case.name, count, attention].append(rate)
            if case.name == DEEP:
                side.rss[case.name, count].append(child.peak_rss / 1e6)


def in_turn(number: int, pair: Pair) -> list[Side]:
    """Who goes first in a round."""
    return [pair.ours, pair.peer] if number % 2 == 0 else [pair.peer, pair.ours]


def start_kinds(quick: bool) -> tuple[str, ...]:
    """How a start is measured: the model in the page cache and, if possible, on disk only."""
    return (IN_CACHE, FROM_DISK) if CAN_EVICT and not quick else (IN_CACHE,)


def measure_starts(
    number: int,
    pair: Pair,
    threads: list[int],
    kinds: tuple[str, ...],
    quiet: Quiet,
    progress: Progress,
) -> None:
    """Process start to first token of both sides, and what of it is importing."""
    for count in threads:
        for kind in kinds:
            for side in in_turn(number, pair):
                progress.step(f"round {number + 1}: {kind}, {side.name}")
                run = partial(_start, side, count, kind == FROM_DISK)
                child = quiet.measure(run, lambda outcome: outcome)
                side.starts[kind, count].append(child.first_byte_seconds)
                if kind == IN_CACHE:
                    side.rss[CHAT, count].append(child.peak_rss / 1e6)
        for side in in_turn(number, pair):
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


def measure_bandwidth(
    program: Path, threads: list[int], weights_megabytes: int, into: dict[str, list[float]]
) -> None:
    """One sample of each kind of reading, per number of threads, in GB/s."""
    kinds = {
        "4 KiB pages": (bandwidth.LARGE_MEGABYTES, False),
        "huge pages": (bandwidth.LARGE_MEGABYTES, True),
        f"{weights_megabytes} MB": (weights_megabytes, False),
    }
    for count in threads:
        for kind, (megabytes, huge) in kinds.items():
            rate = bandwidth.measure(program, count, megabytes, BANDWIDTH_SECONDS, huge)
            into.setdefault(f"{thread_text(count)}, {kind}", []).append(rate)


def best_bandwidth(samples: dict[str, list[float]], threads: int) -> float:
    """The larger median of the two page sizes: what fractions are taken of, in GB/s."""
    kinds = (f"{thread_text(threads)}, 4 KiB pages", f"{thread_text(threads)}, huge pages")
    return max(Spread.of(samples[kind]).median for kind in kinds)
