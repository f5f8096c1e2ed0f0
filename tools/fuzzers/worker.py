"""The process that runs one fuzzer for one turn; `tools/fuzz.py` watches it.

It writes the case in hand into memory that both share before it runs it, so that nothing of it is
needed to know what ended it, and tells by lines of JSON on a pipe what it found and how far it is.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import math
import mmap
import os
import random
import re
import resource
import signal
import struct
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuzzers import load
from fuzzers.base import Case, Fuzzer
from fuzzers.coverage import PACKAGE, Coverage

STATE = struct.Struct("<QQ32s")
"""Number of the case, bytes of it, its kind; then the case."""

STATE_BYTES = 64 << 20
POOL = 2000
"""Cases that did something new, of which others are made."""

MESSAGES = 1000
"""Of errors, that are told apart: code without lines in Python says by them what it did."""

WARM = 300
"""Cases after which what the process holds is taken for what it needs."""

MORE_OPEN = 16
"""Descriptors and threads by which a process may grow."""

SANITIZED = "san.so" in os.environ.get("LD_PRELOAD", "")


class Growth(Exception):
    """The process holds more than it did."""


class Worker:
    """One turn of one fuzzer."""

    def __init__(self, asked: dict[str, Any], state: mmap.mmap) -> None:
        self.name, self._pipe, self._state = asked["name"], asked["pipe"], state
        self._corpus = [Path(path) for path in asked["corpus"]]
        self._known = len(self._corpus) if asked["known"] is None else asked["known"]
        self._cases = asked["cases"]
        self._coverage = None if SANITIZED else Coverage()
        self._endings: Counter[str] = Counter()
        self._pool: list[Case] = []
        self._messages: set[str] = set()
        self._fuzzer: Fuzzer

    def work(self, seed: int, first: int, seconds: float) -> None:
        """Replay the corpus if this is a new turn, then make cases until the time is over."""
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        faulthandler.enable()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as scratch:
            self._fuzzer = load(self.name, Path(scratch))
            if not SANITIZED:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                limit = pages * resource.getpagesize() + self._fuzzer.memory
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            self._turn(seed, first, seconds)

    def _turn(self, seed: int, first: int, seconds: float) -> None:
        cases = [Case.read(path) for path in self._corpus]
        for index, case in enumerate(cases):
            if index >= first:
                self._one(index, case)
        end, told = time.monotonic() + seconds, time.monotonic()
        index, held = max(first, len(cases)), None
        last = math.inf if self._cases is None else len(cases) + self._cases
        warm = index + WARM
        while time.monotonic() < end and index < last:
            rng = random.Random(f"{seed}/{index}")
            if self._pool and rng.random() < 0.4:
                one, other = rng.choice(self._pool), rng.choice(self._pool)
                case = self._fuzzer.mutate(rng, one, other)
            else:
                case = self._fuzzer.make(rng)
            self._one(index, case)
            index += 1
            if index == warm:
                held = holds()
            if time.monotonic() > told + 2:
                self._tell_endings()
                told = time.monotonic()
        if held is not None and not SANITIZED:
            self._compare(held, holds(), index - warm)
        self._tell_endings()

    def _one(self, index: int, case: Case) -> None:
        """Run a case and say what is wrong with that, if something is."""
        self._state[: STATE.size] = STATE.pack(index, len(case.data), case.kind.encode()[:32])
        self._state[STATE.size : STATE.size + len(case.data)] = case.data
        new = 0
        if self._coverage is None:
            ending, fault, seconds = self._run(case)
        else:
            with self._coverage as coverage:
                ending, fault, seconds = self._run(case)
            new = coverage.new
        new += self._new_message
        for _ in range(2):
            # On a busy machine the same work takes longer at times, and counting lines does.
            if fault is None and seconds > self._fuzzer.cpu_seconds:
                ending, fault, again = self._run(case)
                seconds = min(seconds, again)
        if fault is None and seconds > self._fuzzer.cpu_seconds and not SANITIZED:
            ending, fault = "slow", ("slow", f"{seconds:.1f} s of processor time")
        self._endings[f"{case.kind}: {ending}"] += 1
        if fault is not None:
            self._tell(what="finding", signature=fault[0], text=fault[1], index=index)
        elif new:
            self._pool.append(case)
            del self._pool[:-POOL]
            if index >= self._known:
                self._tell(what="new", lines=new, index=index)

    def _run(self, case: Case) -> tuple[str, tuple[str, str] | None, float]:
        """How it ended, what is wrong with that (a signature and a text), and processor time."""
        start = time.process_time()
        self._new_message = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self._fuzzer.run(case)
            self._look_at(self._fuzzer.said)
            ending = "accepted"
        except self._fuzzer.errors as error:
            ending = type(error).__name__
            size = len(str(error))
            self._look_at(str(error))
            if size > self._fuzzer.longest:
                text = f"a message of {size} characters: {str(error)[:300]}"
                return ending, (f"long {ending} {where(error)}", text), 0.0
        except Exception as error:
            signature = f"{type(error).__name__} {where(error)}"
            return "finding", (signature, traceback.format_exc()[-8000:]), 0.0
        return ending, None, time.process_time() - start

    def _look_at(self, message: str) -> None:
        """Whether an error says what none did before, whatever its numbers and names are."""
        if not message or not self._fuzzer.by_message:
            return
        kind = re.sub(r"'.*'|\".*\"|[^ ]*\d[^ ]*", "", message[:500], flags=re.DOTALL)
        if kind not in self._messages and len(self._messages) < MESSAGES:
            self._messages.add(kind)
            self._new_message = True

    def _compare(self, before: dict[str, int], after: dict[str, int], cases: int) -> None:
        limits = {"bytes": self._fuzzer.growth, "descriptors": MORE_OPEN, "threads": MORE_OPEN}
        for what, limit in limits.items():
            more = after[what] - before[what]
            if more > limit:
                text = f"{more:,} more {what} after {cases:,} cases"
                self._tell(what="growth", signature=f"growth of {what}", text=text, index=-1)

    def _tell_endings(self) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        lines = 0 if self._coverage is None else self._coverage.lines
        self._tell(what="endings", endings=dict(self._endings), peak=peak, lines=lines)
        self._endings.clear()

    def _tell(self, **what: Any) -> None:
        data = json.dumps(what).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]
        if what["what"] in ("finding", "new"):
            os.read(self._pipe, 1)  # until the case has been kept


def holds() -> dict[str, int]:
    """What the process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "bytes": pages * resource.getpagesize(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def where(error: BaseException) -> str:
    """The innermost place in the package, or else anywhere, at which it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PACKAGE)] or frames
    if not own:
        return "nowhere"
    return f"{own[-1].filename.removeprefix(PACKAGE)}:{own[-1].lineno}"


def main(arguments: str) -> None:
    """Work as `tools/fuzz.py` asks."""
    asked = json.loads(arguments)
    with open(asked["state"], "r+b") as file:
        state = mmap.mmap(file.fileno(), STATE_BYTES)
    with suppress(KeyboardInterrupt):
        Worker(asked, state).work(asked["seed"], asked["first"], asked["seconds"])
