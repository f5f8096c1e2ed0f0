#!/usr/bin/env python3
"""Run the fuzzers, one after the other.

    python tools/fuzz.py --minutes 60              each of them for an hour, in turns of a minute
    python tools/fuzz.py images plans --minutes 5  some of them
    python tools/fuzz.py --ci                      30 seconds of each
    python tools/fuzz.py --list                    their names, and what they feed
    python tools/fuzz.py --replay FILE...          run kept cases again
    python tools/fuzz.py --merge                   take what was new into the corpus
    python tools/sanitize.py address tools/fuzz.py plans --minutes 5

Each begins with small inputs that are right, and with those of tests/tools/corpus; it changes their
fields, lengths, types, counts, order and bytes. What runs lines of the package that had not run
before, or is answered as nothing was, is changed again. Each runs in a process of its own. One that
ends or does not come back, an error of a kind that is not promised, a result that contradicts
itself, too much processor time, and memory, descriptors or threads that are not given back are
findings: each is printed and kept under --keep, with what repeats it. Exit status 1 then.
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The package is put last: with a sanitizer it is another one.
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
sys.path.append(str(ROOT / "python"))

from fuzzers import NAMES, about, worker  # noqa: E402
from fuzzers.base import Case  # noqa: E402

CORPUS = ROOT / "tests" / "tools" / "corpus"
START = "import sys; sys.path[:0] = {!r}; from fuzzers.worker import main; main(sys.argv[1])"

TURN = 60.0
"""Seconds."""

TICK = 0.5
PATIENCE = 180
"""Ticks in which nothing has come of a case after which nothing will. They are counted and not
measured, since this process may be stopped for a while, too."""

SHORT = 4096
"""Bytes of a case that may go into the corpus."""


@dataclass
class Tally:
    """What has come of one fuzzer."""

    seconds: float = 0.0
    peak: int = 0
    lines: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Path] = field(default_factory=dict)


class Run:
    """The turns of some fuzzers, and what is found in them."""

    def __init__(self, keep: Path) -> None:
        self.keep = keep
        self.tallies: dict[str, Tally] = {}
        self._file = tempfile.NamedTemporaryFile(prefix="fuzz-state-")  # noqa: SIM115
        self._file.truncate(worker.STATE_BYTES)
        self._state = mmap.mmap(self._file.fileno(), worker.STATE_BYTES)

    def turn(
        self,
        name: str,
        seed: int,
        seconds: float,
        corpus: list[Path],
        known: int | None = None,
        cases: int | None = None,
    ) -> None:
        """Run a fuzzer for some seconds, in as many processes as it ends.

        Of the corpus, those from `known` on are kept as new where they are. With `cases`, the
        corpus and that many are run, if there is time for them.
        """
        tally = self.tallies.setdefault(name, Tally())
        first, start = 0, time.monotonic()
        while True:
            left = max(0.0, seconds - (time.monotonic() - start))
            asked = {
                **{"name": name, "seed": seed, "first": first, "seconds": left},
                **{"corpus": [str(path) for path in corpus], "known": known, "cases": cases},
            }
            code, said = self._process(name, asked)
            if code != 0:
                why = "it does not come back" if code is None else ended(code)
                self._found(name, f"{why} {place_in(said)}", said)
                if self._case()[1].kind == "start":
                    break  # it cannot even begin
                first = self._case()[0] + 1
            if code == 0 or (first >= len(corpus) and time.monotonic() - start >= seconds):
                break
        tally.seconds += time.monotonic() - start

    def _process(self, name: str, asked: dict[str, Any]) -> tuple[int | None, str]:
        """Its exit status, None where it had to be ended, and what it said at last."""
        ours, its = socket.socketpair()
        asked |= {"state": self._file.name, "pipe": its.fileno()}
        self._state[: worker.STATE.size] = worker.STATE.pack(0, 0, b"start")
        with tempfile.TemporaryFile() as errors, ours:
            child = subprocess.Popen(
                [sys.executable, "-c", START.format(sys.path), json.dumps(asked)],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
            its.close()
            code = self._watch(child, ours, name)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 12_000))
            return code, errors.read().decode(errors="replace")

    def _watch(self, child: subprocess.Popen[bytes], pipe: socket.socket, name: str) -> int | None:
        """Take down what it says until it ends; None where it stands still and is ended."""
        said, ticks, at = b"", 0, b""
        while True:
            if select.select([pipe], [], [], TICK)[0]:
                try:
                    piece = pipe.recv(1 << 20)
                except ConnectionError:
                    piece = b""
                if not piece:
                    return child.wait()
                *lines, said = (said + piece).split(b"\n")
                for line in lines:
                    self._take(name, json.loads(line), pipe)
                continue
            now = bytes(self._state[:8])
            ticks = ticks + 1 if now == at else 0
            at = now
            if ticks > PATIENCE:
                child.send_signal(signal.SIGUSR1)  # the stacks of all threads
                time.sleep(1)
                child.kill()
                child.wait()
                return None

    def _take(self, name: str, said: dict[str, Any], pipe: socket.socket) -> None:
        tally = self.tallies[name]
        if said["what"] == "endings":
            tally.endings.update(said["endings"])
            tally.peak = max(tally.peak, said["peak"])
            tally.lines = max(tally.lines, said["lines"])
        elif said["what"] == "growth":
            self._found(name, said["signature"], said["text"])
        elif said["what"] == "finding":
            self._found(name, said["signature"], said["text"])
            pipe.send(b".")
        else:
            _, case = self._case()
            if len(case.data) <= SHORT:
                self._put(self.keep / Path(name).stem / "new", case)
            pipe.send(b".")

    def _case(self) -> tuple[int, Case]:
        """The case in hand, and its number."""
        index, size, kind = worker.STATE.unpack_from(self._state)
        data = bytes(self._state[worker.STATE.size : worker.STATE.size + size])
        return index, Case(kind.rstrip(b"\0").decode(), data)

    def _put(self, folder: Path, case: Case) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / case.name
        path.write_bytes(case.data)
        return path

    def _found(self, name: str, signature: str, text: str) -> None:
        """Keep and print a finding, the first of its kind."""
        findings = self.tallies[name].findings
        if signature in findings:
            return
        path = findings[signature] = self._put(self.keep / Path(name).stem, self._case()[1])
        path.with_name(path.name + ".txt").write_text(f"{signature}\n\n{text}\n")
        shown = os.path.relpath(path)
        print(f"FINDING in {name}: {signature}\n{text[-3000:]}")
        which = f"{name} " if name.endswith(".py") else ""
        print(f"  again with: python tools/fuzz.py {which}--replay {shown}", flush=True)


def ended(code: int) -> str:
    """How a process has ended."""
    return f"its process ended by {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def place_in(said: str) -> str:
    """Where in the package, or in which function, a process was as it ended."""
    found = re.search(r"SUMMARY: \w+: [^\n]*", said)
    if found is None:
        found = re.search(r'File "[^"]*cactus/[^"]*", line \d+', said)
    return found[0] if found else ""


def corpus_of(name: str) -> list[Path]:
    """The cases that are kept for a fuzzer."""
    return sorted((CORPUS / Path(name).stem).glob("*-*"))


def replay(run: Run, paths: list[Path], names: list[str]) -> None:
    """Run kept cases, and nothing else: each by the fuzzer of its folder, or the only one named."""
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        folder = path.resolve().parent
        name = folder.parent.name if folder.name == "new" else folder.name
        by_name.setdefault(names[0] if names else name, []).append(path.resolve())
    for name, files in by_name.items():
        run.turn(name, 0, 0.0, files)


def merge(keep: Path, names: list[str]) -> None:
    """Take the cases that were new, the shortest first, as far as they still add to the corpus."""
    for name in names:
        new = [path for path in (keep / name / "new").glob("*") if path.is_file()]
        new.sort(key=lambda path: path.stat().st_size)
        known = corpus_of(name)
        with tempfile.TemporaryDirectory() as scratch:
            run = Run(Path(scratch))
            run.turn(name, 0, 0.0, known + new, known=len(known))
            added = list((Path(scratch) / name / "new").glob("*"))
            (CORPUS / name).mkdir(parents=True, exist_ok=True)
            for path in added:
                shutil.copy(path, CORPUS / name)
        print(f"{name}: {len(known)} cases and {len(added)} more")


def report(run: Run) -> int:
    """Print what has come of each; returns the number of findings."""
    for name, tally in run.tallies.items():
        count = sum(tally.endings.values())
        print(
            f"{name}: {count} cases in {tally.seconds:.0f} s, {len(tally.findings)} findings, "
            f"peak memory {tally.peak} MB, {tally.lines} lines of the package"
        )
        for ending, number in sorted(tally.endings.items()):
            print(f"  {number:8} {ending}")
    return sum(len(tally.findings) for tally in run.tallies.values())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all; FILE.py: one more")
    parser.add_argument("--minutes", type=float, help="of each; default: 1")
    parser.add_argument("--seconds", type=float, help="of each, instead")
    parser.add_argument("--cases", type=int, help="of each, instead, however long they take")
    parser.add_argument("--ci", action="store_true", help="30 seconds of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--merge", action="store_true")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES and not name.endswith(".py")]
    if unknown:
        parser.error(f"no fuzzer is called {unknown[0]}; there are {', '.join(NAMES)}")
    names = options.names or list(NAMES)
    if options.list:
        for name in names:
            print(f"{name:12} {about(name)}")
        return 0
    if options.merge:
        merge(options.keep, names)
        return 0
    run = Run(options.keep)
    if options.replay:
        replay(run, options.replay, options.names)
        return 1 if report(run) else 0
    total = 30.0 if options.ci else 60 * (options.minutes or 1)
    if options.seconds is not None:
        total = options.seconds
    turns = max(1, round(total / TURN))
    if options.cases is not None:
        total, turns = math.inf, 1
    try:
        for turn in range(turns):
            for name in names:
                run.turn(
                    name,
                    options.seed + 1000 * turn,
                    total / turns,
                    corpus_of(name),
                    cases=options.cases,
                )
    except KeyboardInterrupt:
        print("interrupted")
    return 1 if report(run) else 0


if __name__ == "__main__":
    sys.exit(main())
