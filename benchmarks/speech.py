"""Compare our Whisper with faster-whisper and whisper.cpp, in interleaved rounds on this machine.

    python benchmarks/speech.py                      against faster-whisper (int8)
    python benchmarks/speech.py --peer whisper.cpp   against whisper.cpp (Q8_0)
    python benchmarks/speech.py --case "44 s" --threads 1 --beams 5

All sides read the same files with whisper-base, English, without voice activity detection, ours in
INT8; everything else is each side's default. In batches a recording is cut by voice activity, and
the peer is faster-whisper's batched pipeline, which writes no timestamps by default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peer_speech
import speech_clips
import speech_models
from report import Line, compare, table, thread_text
from rounds import BUSY_LIMIT, Quiet, add_rounds
from runner import Child, Command, Progress, finish, machine, run_child

HERE = Path(__file__).resolve().parent
OURS, FASTER_WHISPER, WHISPER_CPP = "ours", "faster-whisper", "whisper.cpp"
ENCODER = "encoder, 30 s"
BATCH = 8
BATCHED = f"10 min, batches of {BATCH}"
REPEATS = {
    speech_clips.SHORT: 3,
    speech_clips.MIDDLE: 1,
    speech_clips.LONG: 1,
    BATCHED: 1,
    ENCODER: 3,
}
"""How often a child does the same work; what counts is the median."""
Key = tuple[str, int, int]
"""Case, beams, threads."""


@dataclass(frozen=True)
class Side:
    """One engine: the start of its command, and what the environment needs."""

    name: str
    command: Command
    env: dict[str, str] | None = None

    def run(self, case: str, beams: int, threads: int) -> tuple[float, Child]:
        """Median seconds of a case, and the child process that took them."""
        command: list[str | Path] = [*self.command, "--threads", str(threads)]
        command += ["--beams", str(beams), "--repeats", str(REPEATS[case])]
        command += ["--encoder"] if case == ENCODER else [str(sound(case))]
        command += ["--batch", str(BATCH)] if case == BATCHED else []
        child = run_child(command, self.env)
        return statistics.median(json.loads(child.stdout.splitlines()[-1])["seconds"]), child


def sound(case: str) -> Path:
    """The file of a case."""
    if case == speech_clips.SHORT:
        return speech_clips.plain("beckett.wav")
    if case == speech_clips.MIDDLE:
        return speech_clips.plain("two_cities.wav")
    return speech_clips.joined(600)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--peer", choices=(FASTER_WHISPER, WHISPER_CPP), default=FASTER_WHISPER)
    add("--case", action="append", choices=list(REPEATS), help="only these cases")
    add("--beams", default="1,5", help="beam sizes (default: 1,5)")
    add_rounds(parser)
    add("--long-rounds", type=int, default=1, help="those with the 10 minutes (default: 1)")
    add("--show", type=Path, metavar="FILE", help="measure nothing: the tables of such a file")
    return parser.parse_args()


def sides(peer: str, progress: Progress) -> tuple[Side, Side]:
    """Ours and the peer, with everything they need."""
    ours = Side(
        OURS, [sys.executable, HERE / "speech_ours.py", speech_models.ours("INT8", progress)]
    )
    python = peer_speech.prepare(progress)
    if peer == FASTER_WHISPER:
        script, model = "speech_faster_whisper.py", speech_models.ctranslate2(progress)
        return ours, Side(peer, [python, HERE / script, model])
    command = [python, HERE / "speech_whisper_cpp.py", speech_models.whisper_cpp(progress)]
    return ours, Side(peer, command, peer_speech.library_path(python))


def todo(given: argparse.Namespace, number: int) -> list[Key]:
    """What a round measures; the long file only in the first ones."""
    keys = []
    for case in given.case or REPEATS:
        if case in (speech_clips.LONG, BATCHED) and number >= given.long_rounds:
            continue
        if case in (BATCHED, ENCODER) and given.peer == WHISPER_CPP:
            continue  # it has no batches, and no way to run the encoder alone
        for beams in (1,) if case == ENCODER else map(int, given.beams.split(",")):
            keys += [(case, beams, threads) for threads in map(int, given.threads.split(","))]
    return keys


def run(given: argparse.Namespace, progress: Progress) -> None:
    """All rounds; then the tables."""
    start = machine()
    both = sides(given.peer, progress)
    quiet = Quiet(given.retries)
    seconds: dict[str, dict[Key, list[float]]] = {side.name: defaultdict(list) for side in both}
    memory: dict[str, dict[Key, list[float]]] = {side.name: defaultdict(list) for side in both}
    progress.total = 2 * sum(len(todo(given, number)) for number in range(given.rounds))
    for number in range(given.rounds):
        for key in todo(given, number):
            for side in both if number % 2 == 0 else both[::-1]:
                progress.step(
                    f"round {number + 1}: {_name(key)}, {thread_text(key[2])}, {side.name}"
                )
                work: Callable[[], tuple[float, Child]] = partial(side.run, *key)
                took, child = quiet.measure(work, lambda outcome: outcome[1])
                seconds[side.name][key].append(took)
                memory[side.name][key].append(child.peak_rss / 1e6)
    progress.close()
    found = {
        "machine": start,
        "versions": peer_speech.VERSIONS,
        "peer": given.peer,
        "rounds": given.rounds,
        "cores_busy_with_others": [round(others, 3) for others in quiet.disturbance],
        "seconds": _plain(seconds),
        "peak_rss_mb": _plain(memory),
    }
    if given.json:
        before = json.loads(given.json.read_text()) if given.json.exists() else []
        given.json.write_text(json.dumps([*before, found], indent=1) + "\n")
    print(text(given.peer, seconds, memory))
    if max(quiet.disturbance) > BUSY_LIMIT:
        print(f"\nNOT QUIET: others kept up to {max(quiet.disturbance):.2f} cores busy")


def text(
    peer: str,
    seconds: dict[str, dict[Key, list[float]]],
    memory: dict[str, dict[Key, list[float]]],
) -> str:
    """The tables: times, whose ratio is theirs over ours, and memory."""
    names = (peer, OURS)

    def lines(values: dict[str, dict[Key, list[float]]], unit: str) -> list[Line]:
        return [
            compare(_name(key), key[2], unit, {peer: values[peer][key]}, {OURS: values[OURS][key]})
            for key in values[OURS]
        ]

    most: dict[str, dict[Key, list[float]]] = {
        name: {key: each for key, each in memory[name].items() if key[0] != ENCODER}
        for name in names
    }
    return "\n\n".join(
        [
            table("lower is better", lines(seconds, "s"), [peer], [OURS]),
            table("peak memory of the process", lines(most, "MB"), [peer], [OURS]),
        ]
    )


def show(path: Path) -> None:
    """The tables of everything in a file, peer by peer."""
    runs = json.loads(path.read_text())
    for peer in dict.fromkeys(each["peer"] for each in runs):
        rows = [["", "time", "memory"]]
        mine = [each for each in runs if each["peer"] == peer]
        for case in dict.fromkeys(case for each in mine for case in each["seconds"][OURS]):
            rows.append(
                [case, *(_show(mine, kind, case, peer) for kind in ("seconds", "peak_rss_mb"))]
            )
        print(f"{peer}\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))


def _show(runs: list[dict[str, Any]], kind: str, case: str, peer: str) -> str:
    ours, theirs = (
        [value for each in runs for value in each[kind][side].get(case, [])]
        for side in (OURS, peer)
    )
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    digits = 2 if kind == "seconds" else 0
    medians = (f"{statistics.median(values):.{digits}f}" for values in (theirs, ours))
    return f"{' / '.join(medians)} = {ratio:.2f}× (of {len(ours)})"


def _name(key: Key) -> str:
    case, beams, _ = key
    return case if case == ENCODER else f"{case}, beam {beams}"


def _plain(values: dict[str, dict[Key, list[float]]]) -> dict[str, Any]:
    return {
        name: {f"{_name(key)}, {thread_text(key[2])}": each for key, each in found.items()}
        for name, found in values.items()
    }


def main() -> int:
    """Run it; errors go to standard error."""
    given, progress = arguments(), Progress()
    if given.show:
        show(given.show)
        return 0
    return finish("speech", lambda: run(given, progress), progress)


if __name__ == "__main__":
    sys.exit(main())
