"""Compare our engine with llama.cpp on the same model, in interleaved rounds on this machine.

    python benchmarks/compare.py                  the starter model, 5 rounds, 1 and 2 threads
    python benchmarks/compare.py --quick          2 short rounds: is it still about the same?
    python benchmarks/compare.py --json out.json  all numbers with machine, commit and versions

What is measured and why is told in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bandwidth
import footprint
import peer as peers
from cases import CASES, DEEP, QUICK_CASES, Case
from report import Line, Spread, compare, table
from rounds import (
    CHAT,
    FROM_DISK,
    IN_CACHE,
    NO_PYTHON,
    OURS,
    PEER,
    Side,
    best_bandwidth,
    first_token_ours,
    measure_bandwidth,
    measure_round,
    measure_starts,
    run_ours,
)
from runner import BenchmarkError, Progress, busy_cores, machine

BUSY_LIMIT = 0.15


def rate_lines(
    sides: dict[str, Side],
    cases: tuple[Case, ...],
    threads: list[int],
    bytes_read: dict[str, footprint.Footprint],
    kv_bytes: int,
    bandwidths: dict[str, list[float]],
) -> list[Line]:
    """Tokens/s of every case, with the fraction of the read bandwidth for the decode cases."""
    lines = []
    for count in threads:
        for case in cases:
            found = {name: side.best(case, count) for name, side in sides.items()}
            ours, _ = found.get(OURS, ([], ""))
            theirs, variant = found.get(PEER, ([], ""))
            note = f"its attention: flash {variant}" if variant in ("on", "off") else ""
            line = compare(case.name, count, "tokens/s", ours, theirs, note)
            if case.gen:
                limit = best_bandwidth(bandwidths, count) * 1e9
                fractions = {
                    name: bytes_read[name].per_token(kv_bytes, case.mean_context)
                    * Spread.of(rates).median
                    / limit
                    for name, (rates, _) in found.items()
                }
                line = replace(
                    line,
                    ours_of_bandwidth=fractions.get(OURS),
                    theirs_of_bandwidth=fractions.get(PEER),
                )
            lines.append(line)
    return lines


def cost_lines(sides: dict[str, Side], threads: list[int]) -> list[Line]:
    """Seconds to the first token and peak resident memory; lower is better."""
    lines = []
    for count in threads:
        for kind in (IN_CACHE, FROM_DISK, NO_PYTHON):
            starts = {name: side.starts[kind, count] for name, side in sides.items()}
            if any(starts.values()):
                ours, theirs = starts.get(OURS, []), starts.get(PEER, [])
                lines.append(compare(f"start to first token, {kind}", count, "s", ours, theirs))
        for name in (DEEP, CHAT):
            rss = {key: side.rss[name, count] for key, side in sides.items()}
            ours, theirs = rss.get(OURS, []), rss.get(PEER, [])
            if ours or theirs:
                lines.append(compare(f"peak RSS, {name}", count, "MB", ours, theirs))
    return lines


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="2 short rounds")
    parser.add_argument("--threads", default="1,2", help="thread counts (default: 1,2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--gguf", type=Path, help="model of both sides (default: the starter)")
    parser.add_argument("--model", type=Path, help="weights folder of ours (default: from --gguf)")
    parser.add_argument("--peer-type", default="Q4_0", help="the peer's format (default: Q4_0)")
    parser.add_argument("--isa", help="force a kernel tier of ours")
    parser.add_argument("--only", choices=["ours", "peer"], help="measure one side")
    parser.add_argument("--case", action="append", help="only the cases whose name has this text")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {given.rounds}")
    try:
        counts = [int(part) for part in given.threads.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        parser.error(f"--threads must be numbers from 1 on, such as 1,2; got {given.threads!r}")
    given.threads = counts
    for text in given.case or []:
        if not any(text in case.name for case in CASES):
            names = ", ".join(repr(case.name) for case in CASES)
            parser.error(f"--case {text!r} is in no name; the cases are {names}")
    return given


def main() -> int:
    """Prepare both sides, run the rounds, print the tables."""
    given = arguments()
    progress = Progress()
    try:
        return run(given, progress)
    except BenchmarkError as error:
        progress.close()
        print(f"compare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.close()
        print("compare: interrupted", file=sys.stderr)
        return 130


def run(given: argparse.Namespace, progress: Progress) -> int:
    """The comparison itself; raises BenchmarkError for what cannot run."""
    all_cases = QUICK_CASES if given.quick else CASES
    cases = tuple(
        case
        for case in all_cases
        if not given.case or any(text in case.name for text in given.case)
    )
    rounds = min(given.rounds, 2) if given.quick else given.rounds
    program = bandwidth.build(progress)
    gguf = given.gguf or peers.starter_gguf(progress)
    sides: dict[str, Side] = {}
    bytes_read: dict[str, footprint.Footprint] = {}
    versions: dict[str, str] = {}
    peer_footprint, kv_bytes = footprint.of_gguf(gguf)
    if given.only != "peer":
        folder = given.model or _converted(gguf, progress)
        bytes_read[OURS] = footprint.of_folder(folder)
        files = [path for path in folder.iterdir() if path.is_file()]
        ours = Side(OURS, run_ours(folder, given.isa), first_token_ours(folder, given.isa), files)
        sides[OURS] = ours
    if given.only != "ours":
        built = peers.prepare(progress)
        peer_file = peers.requantize(built, gguf, given.peer_type, progress)
        peer_footprint, kv_bytes = footprint.of_gguf(peer_file)
        bytes_read[PEER] = peer_footprint
        versions[peers.PACKAGE] = peers.module_version(built)
        sides[PEER] = Side(
            PEER,
            lambda case, threads, attention: built.bench(peer_file, case, threads, attention),
            lambda threads: built.first_token(peer_file, threads),
            [peer_file],
            lambda threads: built.first_token_bare(peer_file, threads),
        )

    start = machine()
    bandwidths: dict[str, list[float]] = {}
    busy: list[float] = []
    cold = not given.quick
    order = list(sides.values())
    extra = sum(case.both_attentions for case in cases) if PEER in sides else 0
    starts = 0 if given.case else len(order) * (2 if cold else 1)
    per_thread = len(cases) * len(order) + extra + starts
    progress.total = rounds * (len(given.threads) * per_thread + 1)
    weights_megabytes = max(1, peer_footprint.weights >> 20)
    for number in range(rounds):
        progress.step(f"round {number + 1}: read bandwidth")
        busy.append(busy_cores() or 0.0)
        measure_bandwidth(program, given.threads, weights_megabytes, bandwidths)
        measure_round(number, order, cases, given.threads, progress)
        if not given.case:
            measure_starts(number, order, given.threads, progress, cold)
    progress.close()

    rates = rate_lines(sides, cases, given.threads, bytes_read, kv_bytes, bandwidths)
    costs = cost_lines(sides, given.threads)
    print(_heading(gguf, start, rounds, versions, bytes_read, kv_bytes))
    print("\nread bandwidth, GB/s: median (min..max)")
    for kind, samples in bandwidths.items():
        print(f"  {kind:24} {Spread.of(samples).show(1)}")
    print("\n" + table("higher is better", rates, with_bandwidth=True))
    if max(busy) > BUSY_LIMIT:
        print(
            f"\nNOT QUIET: other programs kept up to {max(busy):.1f} cores busy between the "
            "measurements; end them and measure again."
        )
    if costs:
        print("\n" + table("lower is better", costs, with_bandwidth=False))
    if given.json:
        document: dict[str, Any] = {
            "machine": start,
            "versions": versions,
            "model": str(gguf),
            "rounds": rounds,
            "cores_busy_with_others": busy,
            "kv_bytes_per_token": kv_bytes,
            "footprint": {name: asdict(value) for name, value in bytes_read.items()},
            "bandwidth_gb_per_s": bandwidths,
            "lines": [line.as_json() for line in rates + costs],
            "samples": {name: _samples(side) for name, side in sides.items()},
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _converted(gguf: Path, progress: Progress) -> Path:
    from cactus.weights.locate import resolve

    progress.show(f"converting {gguf.name} (once)")
    return resolve(gguf)


def _samples(side: Side) -> dict[str, dict[str, list[float]]]:
    return {
        "tokens_per_second": {", ".join(map(str, key)): v for key, v in side.rates.items()},
        "peak_rss_mb": {", ".join(map(str, key)): v for key, v in side.rss.items()},
        "first_token_seconds": {", ".join(map(str, key)): v for key, v in side.starts.items()},
    }


def _heading(
    gguf: Path,
    start: dict[str, object],
    rounds: int,
    versions: dict[str, str],
    bytes_read: dict[str, footprint.Footprint],
    kv_bytes: int,
) -> str:
    changed = " with changes" if start["modified"] else ""
    lines = [
        f"{gguf.name}: {rounds} interleaved rounds, median (min..max)",
        f"{start['processor']}, {start['cores']} cores, {start['compiler']}",
        f"commit {start['commit']}{changed}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    for name, value in bytes_read.items():
        lines.append(
            f"{name}: {value.weights / 1e6:.1f} MB of weights a token ({value.types}), "
            f"{value.disk / 1e6:.1f} MB on disk, K and V {kv_bytes / 1e3:.1f} kB a token of context"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
