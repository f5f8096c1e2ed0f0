"""Compare our engine with its peers on the same models, in interleaved rounds on this machine.

    python benchmarks/compare.py                             the starter model against llama.cpp
    python benchmarks/compare.py --quick                     2 short rounds: still about the same?
    python benchmarks/compare.py --models all --peers all    everything that docs/performance.md has

Every peer runs each case in the best configuration that a short search has found on this machine.

What is measured and why is told in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import footprint
import models
import peaks
import peer as llama
import peer_openvino
import sides
from cases import CASES, DECODE, PREFILL, Case, chosen
from llama_tools import Tools
from report import publish
from results import Results
from rounds import (
    Contest,
    Quiet,
    add_rounds,
    measure_peaks,
    measure_round,
    measure_starts,
    search_configurations,
    start_kinds,
)
from runner import REPOSITORY, BenchmarkError, Progress, finish, machine
from sides import Side

RESULTS = Path(__file__).resolve().parent / "results"
LLAMA, OPENVINO, INT8, AVX2 = "llama.cpp", "openvino", "int8", "avx2"
PEERS = (LLAMA, OPENVINO, INT8, AVX2)
OPENVINO_NAME, IK = "openvino-genai", "ik_llama.cpp"


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", default=models.STARTER, help=f"{','.join(models.NAMES)} or all (starter)")
    add("--peers", default=LLAMA, help=f"{','.join(PEERS)} or all (llama.cpp)")
    add("--ik", type=Path, metavar="FOLDER", help="a peer more: the tools of an ik_llama.cpp build")
    add("--case", action="append", help="only the cases whose name has this text; no start-up")
    add_rounds(parser)
    add("--long-rounds", type=int, default=1, help="rounds with the long cases (default: 1)")
    add("--quick", action="store_true", help="2 short rounds, no long cases, no search")
    add("--search", action="store_true", help="search the peers' configurations again")
    add("--isa", help="force a kernel tier of ours")
    add("--save", action="store_true", help="write it to benchmarks/results/<date>-<commit>.json")
    add("--markdown", type=Path, metavar="FILE", help="write the tables to FILE too")
    add("--publish", action="store_true", help="put them into README.md and docs/performance.md")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {given.rounds}")
    given.models = _words(parser, "--models", given.models, models.NAMES)
    given.peers = _words(parser, "--peers", given.peers, PEERS)
    given.threads = _counts(parser, given.threads)
    if not (given.ik or {LLAMA, OPENVINO, AVX2} & set(given.peers)):
        parser.error(f"--peers {INT8} is a side of ours; name a peer, too")
    if given.ik and not (given.ik / "llama-bench").exists():
        parser.error(f"--ik: {given.ik} has no llama-bench; give a build's folder of programs")
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
    contests = prepare(given, versions, progress)
    if not contests:
        raise BenchmarkError("nothing is left to measure; name other cases or models")
    how = "known" if given.quick else "again" if given.search else "once"
    quiet = Quiet(given.retries)
    for contest in contests:
        search_configurations(contest, max(given.threads), how, quiet, progress)
    rounds = min(given.rounds, 2) if given.quick else given.rounds
    results = Results(start, versions, contests, given.threads, rounds, quiet)
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


def prepare(
    given: argparse.Namespace, versions: dict[str, str], progress: Progress
) -> list[Contest]:
    """The comparisons that were asked for; what they need is fetched, built and converted."""
    contests = []
    cases = chosen(given.case or [], given.quick)
    built = llama.prepare(progress)
    build = f"llama.cpp {llama.VERSION} {built.binaries.parent.name}"
    if {LLAMA, AVX2} & set(given.peers):
        versions[llama.PACKAGE] = llama.module_version(built)
    for name in given.models:
        model = models.prepare(name, progress)
        kv_bytes = footprint.of_gguf(model.gguf)[1]
        fitting = tuple(case for case in cases if case.context <= model.context_length)
        for case in set(cases) - set(fitting):
            progress.show(f"{name} has no context for {case.name}, which is left out")
        ours = [sides.ours(model.folder, given.isa)]
        if INT8 in given.peers:
            ours.append(sides.ours(model.folder, given.isa, name="ours (int8)", int8=True))
        peers: list[Side] = []
        if LLAMA in given.peers:
            peers.append(sides.llama_cpp(built, model.gguf, LLAMA, build, progress))
        if OPENVINO in given.peers:
            version = f"{peer_openvino.PACKAGE} {peer_openvino.VERSION}"
            versions[peer_openvino.PACKAGE] = peer_openvino.VERSION
            exported = peer_openvino.prepare(name, model.folder, progress)
            peers.append(sides.openvino(exported, OPENVINO_NAME, version))
        if given.ik:
            peers += _ik(given.ik, model.gguf, progress)
        if peers:
            starts = name == models.STARTER and LLAMA in given.peers and not given.case
            contests.append(Contest(name, ours, peers, fitting, kv_bytes, starts))
        if AVX2 in given.peers:
            plain = llama.prepare_avx2(built, progress)
            contests.append(
                Contest(
                    name,
                    [sides.ours(model.folder, "avx2", name="ours (avx2)")],
                    [
                        sides.llama_cpp(
                            plain, model.gguf, "llama.cpp (avx2)", f"{build} avx2", progress
                        )
                    ],
                    tuple(case for case in fitting if case.name in (DECODE, PREFILL)),
                    kv_bytes,
                    most_threads=True,
                )
            )
    return [contest for contest in contests if contest.cases]


def _ik(binaries: Path, gguf: Path, progress: Progress) -> list[Side]:
    """ik_llama.cpp, if it can run the model: it has no short convolutions, for one."""
    changed = (binaries / "llama-bench").stat().st_mtime_ns
    side = sides.llama_tools(
        Tools(binaries, fork=True), gguf, IK, f"{IK} {binaries} {changed}", progress
    )
    try:
        side.run(Case("trial", prompt=1), 1, side.start)
    except BenchmarkError as error:
        progress.show(f"{IK} is left out: it does not run {gguf.name}: {str(error)[-200:]}")
        return []
    return [side]


def measure(results: Results, progress: Progress, *, long_rounds: int, quick: bool) -> None:
    """Run all rounds; long cases only in the first ``long_rounds`` of them."""
    kinds = start_kinds(quick)
    plan = [
        [
            (contest, contest.todo(number, results.threads, long_rounds))
            for contest in results.contests
        ]
        for number in range(results.rounds)
    ]
    progress.done = 0
    progress.total = results.rounds + sum(
        len(contest.in_turn(number, case))
        for number, round_ in enumerate(plan)
        for contest, todo in round_
        for _, case in todo
    )
    starting = sum(len(contest.in_turn(0)) for contest in results.contests if contest.starts)
    progress.total += results.rounds * len(kinds) * len(results.threads) * starting
    found = results.contests[0].ours[0].footprint_of(CASES[0])
    weights = found.weights if found else peaks.LARGE
    for number, round_ in enumerate(plan):
        progress.step(f"round {number + 1}: peaks of the machine")
        measure_peaks(results.threads, weights, results.quiet, results.peaks)
        for contest, todo in round_:
            measure_round(number, contest, todo, results.quiet, progress)
            if contest.starts:
                measure_starts(number, contest, results.threads, kinds, results.quiet, progress)
    progress.close()


if __name__ == "__main__":
    sys.exit(main())
