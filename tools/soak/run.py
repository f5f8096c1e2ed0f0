"""Rounds of all that the package does, and what its processes keep of them; `__main__` has more."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .curves import draw
from .faults import KINDS, Faults, build
from .made import ROOT, Made, make
from .server import Server
from .watch import BYTES, GROWTH, IN_USE, MEASURED, grown, seen, tenths

WHOLE = {
    "requests": 100_000,
    "loads": 1000,
    "indexings": 500,
    "transcriptions": 200,
    "seconds": 3600,
}
"""What is done in all: requests by four doors, loads by the library and by the server, seconds of
sound that is listened to as it comes."""
DOORS = 4
SHORT = 20
"""Rounds below which processes still warm up: their pools of threads are not compared, memory may
grow by three times as much, and a rare fault need not have happened."""


class Worker:
    """The process that uses the library."""

    def __init__(self, made: Made, faults: Faults, environment: dict[str, str]) -> None:
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
            "from soak.library import main; main(*sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(made.home), str(faults.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CACTUS_THREADS": "1", **environment},
        )

    def round(self, told: dict[str, Any]) -> dict[str, Any]:
        """What came of one. Raises EOFError where it has died."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended, which the next line finds
            self.process.stdin.write(json.dumps(told) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the process of the library ended with {self.process.wait()}")
        result: dict[str, Any] = json.loads(line)
        return result

    def end(self) -> int:
        """Its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait()


@contextmanager
def running(given: argparse.Namespace) -> Iterator[tuple[Worker, Server]]:
    """Both processes, with files that can fail; they are ended in any case."""
    with tempfile.TemporaryDirectory(prefix="cactus-soak-") as folder:
        home = Path(os.path.realpath(folder))
        (home / "work").mkdir()
        made, library = make(home / "work"), build(home / "faults.so")
        ways = [Faults(home / name) for name in ("library.faults", "server.faults")]
        surroundings = [each.environment(library, made.home) for each in ways]
        (home / "tmp").mkdir()
        quiet = {"CACTUS_NO_CLOUD": "1", "XDG_RUNTIME_DIR": str(home / "tmp")}
        worker = Worker(made, ways[0], surroundings[0] | quiet)
        try:
            held = given.idle, given.slow
            around = surroundings[1] | quiet
            server = Server(made.model, made.embedder, *held, ways[1], **around)
            try:
                yield worker, server
            finally:
                server.process.kill()
        finally:
            worker.process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    given = _given(arguments)
    if given.draw:
        draw(given.output, given.draw)
        return 0
    counts = {"requests": given.requests, "loads": given.loads, "indexings": given.indexings,
              "transcriptions": given.transcriptions, "seconds": given.seconds}  # fmt: skip
    share = {name: -(-count // given.rounds) for name, count in counts.items()}
    share |= {"requests": -(-share["requests"] // DOORS), "faults": given.faults}
    lines: list[dict[str, Any]] = []
    wrong: Counter[str] = Counter()
    with given.output.open("w") as output, running(given) as (worker, server):
        for number in range(given.rounds):
            line = _round(number, share, worker, server, wrong)
            lines.append(line)
            _tell(output, line)
        statuses = worker.end(), server.end()
        if any(statuses):
            wrong[f"exit statuses {statuses}"] += 1
        summary = _summary(lines, wrong, share, given.rounds)
        _tell(output, summary)
    _print(summary)
    return 1 if wrong or summary["grown"] or summary["missing"] else 0


def _round(
    number: int,
    share: dict[str, int],
    worker: Worker,
    server: Server,
    wrong: Counter[str],
) -> dict[str, Any]:
    began = time.monotonic()
    told = {**share, "round": number}
    came = worker.round(told)
    server.hold()
    server.round(told, came["answers"])
    server.release()
    for what in (*came["wrong"], *server.wrong):
        wrong[what] += 1
        print(f"round {number}: {what}", file=sys.stderr, flush=True)
    server.wrong.clear()
    injected, heap = server.faults.done(), server.heap()
    return {
        "round": number,
        "seconds": round(time.monotonic() - began, 2),
        "library": seen(worker.process.pid) | came["heap"],
        "server": seen(server.process.pid) | heap,
        "injected": {kind: injected[kind] + came["injected"][kind] for kind in KINDS},
        "refused": {**came["refused"], **server.refused},
        "wrong": sum(wrong.values()),
    }


def _tell(output: IO[str], line: dict[str, Any]) -> None:
    kept = {name: value for name, value in line.items() if name != "refused"}
    output.write(json.dumps(line if "grown" in line else kept) + "\n")
    output.flush()
    if "grown" not in line:
        sizes = [f"{name} {line[name]['memory'] / 2**20:.1f} MiB" for name in ("library", "server")]
        print(f"{line['round']:4} {line['seconds']:6} s  {', '.join(sizes)}, {line['wrong']} wrong",
              flush=True)  # fmt: skip


def _summary(
    lines: list[dict[str, Any]], wrong: Counter[str], share: dict[str, int], rounds: int
) -> dict[str, Any]:
    """What was done, whether anything has grown, and which faults never happened."""
    last, short = lines[-1], rounds < SHORT
    curves = {
        f"{process} {what}": [line[process][what] for line in lines]
        for process in ("library", "server")
        for what in MEASURED
        if not (short and what == "threads")
    }
    return {
        "done": {name: count * rounds for name, count in share.items()},
        "seconds": round(sum(line["seconds"] for line in lines)),
        "injected": last["injected"],
        "missing": [kind for kind, n in last["injected"].items() if not n and not short],
        "tenths": {name: [round(value, 1) for value in tenths(curves[name])] for name in curves},
        "grown": [name for name in curves if grown(curves[name], _may_grow(name, short))],
        "refused": last["refused"],
        "wrong": dict(wrong),
    }


def _may_grow(name: str, short: bool) -> float:
    return (IN_USE if name.endswith("in use") else GROWTH) * (3 if short else 1)


def _print(summary: dict[str, Any]) -> None:
    done = summary["done"]
    print(f"{DOORS} x {done['requests']} requests, 2 x {done['loads']} loads, "
          f"{done['indexings']} indexings, {done['transcriptions']} transcriptions, "
          f"{done['seconds']} s listened to, in {summary['seconds']} s")  # fmt: skip
    print("faults: " + ", ".join(f"{n} {kind}" for kind, n in summary["injected"].items()))
    for name, (second, last) in summary["tenths"].items():
        shown = "  GROWN" if name in summary["grown"] else ""
        if name.endswith(BYTES):
            print(f"{name:24} {second / 2**20:8.1f} -> {last / 2**20:8.1f} MiB{shown}")
        else:
            print(f"{name:24} {second:8.1f} -> {last:8.1f}{shown}")
    if summary["missing"]:
        print(f"never happened: {', '.join(summary['missing'])}")


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    for name, count in WHOLE.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--faults", type=int, default=3, help="of each work in a round")
    parser.add_argument("--idle", type=int, default=1000, help="connections that only hold on")
    parser.add_argument("--slow", type=int, default=8, help="readers that do not read")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "soak.jsonl")
    parser.add_argument("--draw", type=Path, help="only draw the output's curves, as this SVG file")
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    return given
