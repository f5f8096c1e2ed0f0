"""What the fuzzers of files share: their command line, their limits, and the list of findings."""

from __future__ import annotations

import argparse
import math
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WALL_SECONDS = 60

Ending = tuple[str, str | None, float]
"""How the reading of a file ended, what is wrong with that (or None), and the processor time."""

Make = Callable[[random.Random], tuple[str, bytes, Callable[[], Ending]]]
"""Makes a file: the name of its kind, its bytes, and what reads it, as often as it is called."""


class Hang(Exception):
    """A file kept its reader busy for WALL_SECONDS."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raises Hang in what takes longer than WALL_SECONDS."""

    def hang(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(WALL_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def main(description: str, make: Make, *, cpu_seconds: float, memory: int) -> int:
    """Fuzz as the command line says; returns the exit status, 1 if there are findings.

    A file may take `cpu_seconds` of processor time, and the process `memory` bytes beyond what it
    has: an allocation beyond that fails instead of slowing the machine down.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, help="default: 60, if there is no --files")
    parser.add_argument("--files", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that are findings")
    options = parser.parse_args()
    files = math.inf if options.files is None else options.files
    seconds = 60.0 if options.files is None else math.inf
    if options.seconds is not None:
        seconds = options.seconds
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return 1 if _fuzz(make, seconds, files, options.seed, options.keep, cpu_seconds) else 0


def _fuzz(
    make: Make, seconds: float, files: float, seed: int, keep: Path | None, cpu_seconds: float
) -> int:
    """Fuzz for some seconds or with so many files; returns the number of findings."""
    endings: Counter[str] = Counter()
    seen: set[str] = set()
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    start, index = time.monotonic(), 0
    while index < files and time.monotonic() - start < seconds:
        name, data, read = make(random.Random(f"{seed}/{index}"))
        if keep:
            (keep / "last").write_bytes(data)
        ending, fault = _judged(read, cpu_seconds)
        endings[f"{name}: {ending}"] += 1
        if fault and fault not in seen:
            seen.add(fault)
            print(f"FINDING in {name}, --seed {seed} file {index}:\n{fault}", flush=True)
            if keep:
                (keep / f"{name}-{seed}-{index}").write_bytes(data)
        index += 1
    took = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{index} files in {took:.0f} s ({60 * index / took:.0f} a minute), ", end="")
    print(f"{len(seen)} findings, peak memory {peak} MB")
    for ending, count in sorted(endings.items()):
        print(f"  {count:8} {ending}")
    return len(seen)


def _judged(read: Callable[[], Ending], cpu_seconds: float) -> tuple[str, str | None]:
    """How a file ended, and what is wrong with that.

    One that takes too long is read twice more, and the least time counts: on a busy machine the
    same work can take several times as much.
    """
    times = []
    for _ in range(3):
        ending, fault, seconds = read()
        times.append(seconds)
        if fault is not None or seconds <= cpu_seconds:
            return ending, fault
    return ending, f"{min(times):.1f} s of processor time"
