#!/usr/bin/env python3
"""What weights that are mapped, read ahead (preload) or copied (resident) cost and bring.

    python benchmarks/resident.py weights/smollm2-135m-instruct --threads 2

A child process for each takes turns with the others: seconds until the model is loaded and until
its first token, with the file in memory and without; then tokens a second, as ratios to the mapped
file, and the memory that the process has for itself and shares. The file must not be in use
elsewhere, or it stays in memory. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cactus.engine.loading import load
from cactus.native import Row

KINDS: dict[str, dict[str, bool]] = {
    "mapped": {},
    "preload": {"preload": True},
    "resident": {"resident": True},
}
STARTS = 5
TOKENS, PROMPT = 64, 256


def child(model: Path, kind: str, threads: int) -> None:
    """Loads, and answers what comes in by lines: "decode", "prefill" or "memory"."""
    begin = time.perf_counter()
    program = load(model, threads=threads, **KINDS[kind]).program
    loaded = time.perf_counter() - begin
    session = program.session()
    program.step([Row(session, [1])])
    print(json.dumps([loaded, time.perf_counter() - begin]), flush=True)
    for line in sys.stdin:
        if line == "memory\n":
            print(json.dumps(memory()), flush=True)
            continue
        session.truncate(0)
        begin = time.perf_counter()
        if line == "decode\n":
            token = 1
            for _ in range(TOKENS):
                (output,) = program.step([Row(session, [token])])
                token = output.token
        else:
            program.step([Row(session, list(range(1, PROMPT + 1)), "none")])
        tokens = TOKENS if line == "decode\n" else PROMPT
        print(tokens / (time.perf_counter() - begin), flush=True)


def memory() -> dict[str, int]:
    """MiB of this process, by kinds of the system's."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) >> 10 for line in lines}
    kinds = ("Private_Clean", "Private_Dirty", "Shared_Clean", "AnonHugePages", "FilePmdMapped")
    return {kind: found.get(kind, 0) for kind in kinds}


class Side:
    """A process with the weights in one of these ways."""

    def __init__(self, model: Path, kind: str, threads: int) -> None:
        command = [sys.executable, __file__, str(model), "--threads", str(threads), "--kind", kind]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self.started = self.read()

    def read(self) -> Any:
        """The next line."""
        return json.loads(self.process.stdout.readline())

    def ask(self, what: str) -> Any:
        """What the child says to it."""
        print(what, file=self.process.stdin, flush=True)
        return self.read()

    def end(self) -> None:
        """Waits until it has ended."""
        self.process.communicate()


def starts(model: Path, threads: int, *, cold: bool) -> None:
    """Prints medians of the seconds until a model is there."""
    seconds: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for _ in range(STARTS):
        for kind, found in seconds.items():
            if cold:
                with (model / "model.safetensors").open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            side = Side(model, kind, threads)
            found.append(side.started)
            side.end()
    for kind, found in seconds.items():
        loaded, first = (statistics.median(each) for each in zip(*found, strict=True))
        file = "not in memory" if cold else "in memory"
        print(f"| {kind}, file {file} | {loaded:.3f} | {first:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        return child(given.model, given.kind, given.threads)
    print("| weights | loaded after, s | first token after, s |\n|---|--:|--:|")
    for cold in (False, True):
        starts(given.model, given.threads, cold=cold)
    sides = {kind: Side(given.model, kind, given.threads) for kind in KINDS}
    print("\n| weights | tokens/s | to mapped |\n|---|--:|--:|")
    for what in ("decode", "prefill"):
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for turn in range(given.rounds + 1):
            for n in range(len(KINDS)):
                kind = list(KINDS)[(turn + n) % len(KINDS)]
                rate = sides[kind].ask(what)
                if turn:
                    rates[kind].append(rate)
        for kind, found in rates.items():
            ratios = [a / b for a, b in zip(found, rates["mapped"], strict=True)]
            error = statistics.stdev(ratios) / len(ratios) ** 0.5
            told = f"{statistics.median(ratios):.3f} ± {error:.3f}"
            print(f"| {what}, {kind} | {statistics.median(found):.1f} | {told} |", flush=True)
    print()
    for kind, side in sides.items():
        print(f"{kind}, MiB: {side.ask('memory')}")
        side.end()
    return None


if __name__ == "__main__":
    main()
