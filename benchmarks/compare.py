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
from pathlib import Path

import bandwidth
import footprint
import peer as peers
from cases import CASES, QUICK_CASES
from results import Results
from rounds import (
    OURS,
    PEER,
    Quiet,
    Side,
    first_token_ours,
    measure_bandwidth,
    measure_round,
    measure_starts,
    run_ours,
)
from runner import CAN_EVICT, BenchmarkError, Progress, machine

from cactus.errors import CactusError


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="2 short rounds")
    parser.add_argument("--threads", default="1,2", help="thread counts (default: 1,2)")
    parser.add_argument(
        "--retries", type=int, default=2, help="repeats of a disturbed measurement (default: 2)"
    )
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
    except (BenchmarkError, CactusError) as error:
        progress.close()
        print(f"compare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.close()
        print("compare: interrupted", file=sys.stderr)
        return 130


def run(given: argparse.Namespace, progress: Progress) -> int:
    """The comparison itself; raises BenchmarkError or CactusError for what cannot run."""
    wanted = given.case or [""]
    program = bandwidth.build(progress)
    gguf = given.gguf or peers.starter_gguf(progress)
    sides = {}
    versions = {}
    if given.only != "peer":
        sides[OURS] = our_side(given.model or converted(gguf, progress), given.isa)
    if given.only != "ours":
        built = peers.prepare(progress)
        versions[peers.PACKAGE] = peers.module_version(built)
        sides[PEER] = peer_side(built, peers.requantize(built, gguf, given.peer_type, progress))
    results = Results(
        model=gguf,
        machine=machine(),
        versions=versions,
        kv_bytes=footprint.of_gguf(gguf)[1],
        sides=sides,
        cases=tuple(
            case
            for case in (QUICK_CASES if given.quick else CASES)
            if any(text in case.name for text in wanted)
        ),
        threads=given.threads,
        rounds=min(given.rounds, 2) if given.quick else given.rounds,
        quiet=Quiet(given.retries),
    )
    measure(results, program, progress, starts=not given.case, cold=not given.quick)
    print(results.text())
    if given.json:
        given.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    return 0


def our_side(folder: Path, isa: str | None) -> Side:
    """Our engine on a weights folder."""
    files = [path for path in folder.iterdir() if path.is_file()]
    found = footprint.of_folder(folder)
    return Side(OURS, run_ours(folder, isa), first_token_ours(folder, isa), files, found)


def peer_side(built: peers.LlamaCpp, gguf: Path) -> Side:
    """llama.cpp on its own file."""
    return Side(
        PEER,
        lambda case, threads, attention: built.bench(gguf, case, threads, attention),
        lambda threads: built.first_token(gguf, threads),
        [gguf],
        footprint.of_gguf(gguf)[0],
        lambda threads: built.first_token_bare(gguf, threads),
    )


def converted(gguf: Path, progress: Progress) -> Path:
    """Our weights folder of a GGUF file; made once and kept."""
    from cactus.weights.locate import resolve

    progress.show(f"converting {gguf.name} (once)")
    return resolve(gguf)


def measure(
    results: Results, program: Path, progress: Progress, *, starts: bool, cold: bool
) -> None:
    """Run all rounds; ``starts`` and ``cold`` say whether start-up and start-up from disk count."""
    order = list(results.sides.values())
    cold = cold and CAN_EVICT
    extra = sum(case.both_attentions for case in results.cases) if PEER in results.sides else 0
    start_steps = len(order) * (1 + cold) if starts else 0
    per_thread = len(results.cases) * len(order) + extra + start_steps
    progress.total = results.rounds * (len(results.threads) * per_thread + 1)
    megabytes = max(1, order[0].footprint.weights >> 20)
    for number in range(results.rounds):
        progress.step(f"round {number + 1}: read bandwidth")
        measure_bandwidth(program, results.threads, megabytes, results.bandwidths)
        measure_round(number, order, results.cases, results.threads, results.quiet, progress)
        if starts:
            measure_starts(number, order, results.threads, results.quiet, progress, cold)
    progress.close()


if __name__ == "__main__":
    sys.exit(main())
