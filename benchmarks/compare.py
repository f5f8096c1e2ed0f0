"""Compare our engine with its peers on the same models, in interleaved rounds on this machine.

    python benchmarks/compare.py                             the starter model against llama.cpp
    python benchmarks/compare.py --quick                     2 short rounds: still about the same?
    python benchmarks/compare.py --models all --peers all    everything that docs/performance.md has

What is measured and why is told in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import footprint
import models
import peaks
import peer as peers
import peer_openvino
import sides
from cases import CASES, DECODE, PREFILL, chosen
from report import publish
from results import Results
from rounds import (
    Pair,
    Quiet,
    measure_peaks,
    measure_round,
    measure_starts,
    start_kinds,
)
from runner import REPOSITORY, Progress, finish, machine

RESULTS = Path(__file__).resolve().parent / "results"
LLAMA, INT8, AVX2, OPENVINO, TOGETHER = "llama.cpp", "int8", "avx2", "openvino", "together"
PEERS = (LLAMA, INT8, AVX2, OPENVINO, TOGETHER)


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", default=models.STARTER, help=f"{','.join(models.NAMES)} or all (starter)")
    add("--peers", default=LLAMA, help=f"{','.join(PEERS)} or all (llama.cpp)")
    add("--case", action="append", help="only the cases whose name has this text; no start-up")
    add("--rounds", type=int, default=3, help="interleaved rounds (default: 3)")
    add("--long-rounds", type=int, default=1, help="rounds with the long cases (default: 1)")
    add("--quick", action="store_true", help="2 short rounds, no long cases")
    add("--threads", default="1,2", help="thread counts (default: 1,2)")
    add("--retries", type=int, default=1, help="repeats of a disturbed measurement (default: 1)")
    add("--peer-type", default="Q4_0", help="the peer's format (default: Q4_0)")
    add("--isa", help="force a kernel tier of ours")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    add("--save", action="store_true", help="write it to benchmarks/results/<date>-<commit>.json")
    add("--markdown", type=Path, metavar="FILE", help="write the tables to FILE too")
    add("--publish", action="store_true", help="put them into README.md and docs/performance.md")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {given.rounds}")
    given.models = _words(parser, "--models", given.models, models.NAMES)
    given.peers = _words(parser, "--peers", given.peers, PEERS)
    given.threads = _counts(parser, given.threads)
    for text in given.case or []:
        if not any(text in case.name for case in CASES):
            names = ", ".join(repr(case.name) for case in CASES)
            parser.error(f"--case {text!r} is in no name; the cases are {names}")
    return given


def _words(
    parser: argparse.ArgumentParser, option: str, text: str, known: tuple[str, ...]
) -> list[str]:
    words = list(known) if text == "all" else text.split(",")
    for word in words:
        if word not in known:
            parser.error(f"{option} {word!r} is not known; known: {', '.join(known)}, all")
    return words


def _counts(parser: argparse.ArgumentParser, text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1:
        parser.error(f"--threads must be numbers from 1 on, such as 1,2; got {text!r}")
    return counts


def main() -> int:
    """Prepare all sides, run the rounds, print the tables."""
    given = arguments()
    progress = Progress()
    return finish("compare", lambda: run(given, progress), progress)


def run(given: argparse.Namespace, progress: Progress) -> None:
    """The comparison itself; raises BenchmarkError or CactusError for what cannot run."""
    start = machine()
    versions: dict[str, str] = {}
    pairs = prepare(given, versions, progress)
    rounds = min(given.rounds, 2) if given.quick else given.rounds
    results = Results(start, versions, pairs, given.threads, rounds, Quiet(given.retries))
    measure(results, progress, long_rounds=given.long_rounds, quick=given.quick)
    print(results.text())
    if given.markdown:
        given.markdown.write_text(results.text() + "\n")
    if given.publish:
        publish(REPOSITORY / "README.md", results.headline())
        publish(REPOSITORY / "docs" / "performance.md", results.text())
    if given.json:
        write_json(results, given.json)
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        write_json(results, RESULTS / f"{time.strftime('%Y-%m-%d')}-{start['commit']}.json")


def write_json(results: Results, path: Path) -> None:
    """Every sample, with machine, commit and versions."""
    path.write_text(json.dumps(results.as_json(), indent=1) + "\n")


def prepare(given: argparse.Namespace, versions: dict[str, str], progress: Progress) -> list[Pair]:
    """The comparisons that were asked for; what they need is fetched, built and converted."""
    pairs = []
    cases = chosen(given.case or [], given.quick)
    short = tuple(case for case in cases if case.name in (DECODE, PREFILL))
    built = None
    if set(given.peers) != {TOGETHER}:
        built = peers.prepare(progress)
        versions[peers.PACKAGE] = peers.module_version(built)
    for name in given.models:
        model = models.prepare(name, progress)
        kv_bytes = footprint.of_gguf(model.gguf)[1]
        if built is not None:
            gguf = peers.requantize(built, model.gguf, given.peer_type, progress)
        for peer in given.peers:
            ours = sides.ours(model.folder, given.isa)
            if peer == LLAMA:
                other = sides.llama_cpp(built, gguf, "llama.cpp")
                starts = name == models.STARTER and not given.case
                pairs.append(Pair(name, ours, other, cases, kv_bytes, starts))
            elif peer == INT8:
                reading = tuple(case for case in cases if case.prompt)
                ours = sides.ours(model.folder, given.isa, name="ours (int8)", activations="int8")
                other = sides.llama_cpp(built, gguf, "llama.cpp")
                pairs.append(Pair(name, ours, other, reading))
                if name == models.STARTER and OPENVINO in given.peers:
                    other = sides.openvino(peer_openvino.prepare(progress), gguf, "openvino-genai")
                    reading = tuple(case for case in reading if case.name == PREFILL)
                    pairs.append(Pair(name, ours, other, reading))
            elif peer == AVX2:
                ours = sides.ours(model.folder, "avx2", name="ours (avx2)")
                other = sides.llama_cpp(
                    peers.prepare_avx2(built, progress), gguf, "llama.cpp (avx2)"
                )
                pairs.append(Pair(name, ours, other, short, kv_bytes, most_threads=True))
            elif name == models.STARTER and peer == OPENVINO:
                versions[peer_openvino.PACKAGE] = peer_openvino.VERSION
                other = sides.openvino(peer_openvino.prepare(progress), gguf, "openvino-genai")
                reading = tuple(case for case in short if case.name == PREFILL)
                pairs.append(Pair(name, ours, other, reading))
            elif name == models.STARTER and peer == TOGETHER:
                eight = sides.ours(
                    model.folder,
                    given.isa,
                    name=f"{sides.TOGETHER} conversations",
                    rows=sides.TOGETHER,
                )
                writing = tuple(case for case in short if case.name == DECODE)
                ours.name = "one"
                pairs.append(Pair(name, eight, ours, writing))
    return [pair for pair in pairs if pair.cases]


def measure(results: Results, progress: Progress, *, long_rounds: int, quick: bool) -> None:
    """Run all rounds; long cases only in the first ``long_rounds`` of them."""
    kinds = start_kinds(quick)
    plan: list[Any] = [
        [(pair, pair.todo(number, results.threads, long_rounds)) for pair in results.pairs]
        for number in range(results.rounds)
    ]
    progress.total = sum(
        len(pair.ours.variants(case)) + len(pair.peer.variants(case))
        for round_ in plan
        for pair, todo in round_
        for _, case in todo
    )
    starting = sum(pair.starts for pair in results.pairs)
    progress.total += results.rounds * (1 + 2 * len(kinds) * len(results.threads) * starting)
    found = results.pairs[0].ours.footprint
    weights = found.weights if found else peaks.LARGE
    for number, round_ in enumerate(plan):
        progress.step(f"round {number + 1}: peaks of the machine")
        measure_peaks(results.threads, weights, results.quiet, results.peaks)
        for pair, todo in round_:
            measure_round(number, pair, todo, results.quiet, progress)
            if pair.starts:
                measure_starts(number, pair, results.threads, kinds, results.quiet, progress)
    progress.close()


if __name__ == "__main__":
    sys.exit(main())
