"""What is done to the library: files that fail, children that are killed, memory that is not there.

Whatever fails must say so with an error of the package or the system, which names the file where
one has failed; the same again, when nothing fails any more, gives what it always gave.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cactus
from cactus import Model, batch
from cactus.errors import CactusError
from cactus.weights.convert import convert

from .doors import ASKED, messages
from .faults import chances
from .made import JOB, STATES, change, digests
from .watch import children

if TYPE_CHECKING:
    from .library import Library

TYPED = (CactusError, OSError, MemoryError)
ROOM = (1 << 20, 4 << 20, 16 << 20, 48 << 20)
"""Bytes of addresses that are left to a process."""

Work = Callable[[], None]


def hurt(library: Library, chosen: random.Random, faults: int) -> dict[str, Work]:
    """What is done to it in a round, by name; `faults`: how often each work meets failing files."""
    hurts = _Hurts(library, chosen)
    found: dict[str, Work] = {}
    for name, work in hurts.works.items():
        found |= {f"{name} {n}": lambda n=name, w=work: hurts.failing(n, w) for n in range(faults)}
    found["reader killed"] = hurts.reader_killed
    found["worker killed"] = hurts.worker_killed
    for name in ("load", "flat load", "chat", "transcribe", "index"):
        work = hurts.works[name]
        found[f"{name} without memory"] = lambda n=name, w=work: hurts.starved(n, w)
    return found


class _Hurts:
    def __init__(self, library: Library, chosen: random.Random) -> None:
        self._library, self._made, self._chosen = library, library.made, chosen
        self.works: dict[str, Work] = {
            "load": self._load,
            "flat load": self._flat_load,
            "chat": self._chat,
            "index": self._index,
            "transcribe": self._transcribe,
            "batch": self._batch,
            "convert": self._convert,
        }

    # -- what is done

    def _load(self) -> None:
        if self._chosen.random() < 0.5:  # then it is made and written anew
            for plan in self._made.model.glob("plan*"):
                plan.unlink()
        text, options = ASKED[0]
        with Model(self._made.model, threads=1) as model:
            self._library.doors.check(0, model.chat(messages(text), **options).text, "load")

    def _flat_load(self) -> None:
        handle = cactus.cactus_init(str(self._made.model))
        if handle is None:
            raise CactusError(cactus.cactus_get_last_error())
        text, options = ASKED[0]
        given = {**options, "confidence_threshold": 0}
        told = json.loads(cactus.cactus_complete(handle, messages(text), **given))
        cactus.cactus_destroy(handle)
        if not told["success"]:
            raise CactusError(told["error"])
        self._library.doors.check(0, told["response"], "flat load")

    def _chat(self) -> None:
        text, options = ASKED[3]
        told = self._library.doors.model.chat(messages(text), **options)
        self._library.doors.check(3, told.text, "chat")

    def _index(self) -> None:
        state = self._library.indexed % STATES
        if self._chosen.random() < 0.3:
            self._library._forget_index()
        with self._library.corpus() as corpus:
            report = corpus.sync(progress=False)
        if report.skipped or report.failed:  # it is said, and made good by the next one
            return
        self._library.look(state)

    def _transcribe(self) -> None:
        self._library.hear(self._chosen.choice(self._made.recordings))

    def _batch(self, workers: int | None = None) -> None:
        output = self._made.home / "out.jsonl"
        batch.run(
            JOB, self._made.rows, output, model=self._made.model, progress=False, threads=1,
            workers=workers,
        )  # fmt: skip
        lines = sorted(output.read_bytes().split(b"\n"))
        for file in self._made.home.glob("out.jsonl*"):
            file.unlink()
        self._library.same("batch", [line.decode() for line in lines])

    def _convert(self) -> None:
        target = self._made.home / "converted"
        convert(self._made.checkpoint, target, "INT8")
        found = digests(target)
        shutil.rmtree(target)
        self._library.same("converted", found)

    # -- what is done to it

    def failing(self, name: str, work: Work) -> None:
        """While files fail; then once more, which also removes what a failing disk has kept."""
        self._library.turn += 1
        with self._library.faults.on(chances(self._library.turn, self._chosen)):
            self._attempt(name, work, names_a_file=True)
        self._whole()
        work()
        left = [path.name for path in self._made.home.rglob("*.part*")]
        assert not left, f"{name} has left {left}"

    def starved(self, name: str, work: Work) -> None:
        """While there are few addresses left; then once more."""
        room = self._chosen.choice(ROOM)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
        try:
            self._attempt(name, work, names_a_file=False)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        work()

    def reader_killed(self) -> None:
        """The process that reads documents is killed; the next index has all of them."""
        change(self._made, self._library.indexed % STATES)
        self._library._forget_index()
        with self._killing():
            self._attempt("index, reader killed", self._index, names_a_file=False)
        self._library.look(self._library.indexed % STATES)

    def worker_killed(self) -> None:
        """A process of a job is killed; the next call goes on."""
        with self._killing():
            self._attempt("batch, worker killed", lambda: self._batch(2), names_a_file=False)
        self._batch(2)

    def _killing(self) -> _Killer:
        return _Killer(0.3 * self._chosen.random())

    def _attempt(self, name: str, work: Work, names_a_file: bool) -> None:
        """Work that may fail, with an error that says what of."""
        try:
            work()
        except TYPED as error:
            text, home = str(error), str(self._made.home)
            if names_a_file and not _names_a_file(text):
                self._library.wrong.append(f"{name}: names no file: {_kind(error)}: {text}")
            short = re.sub(r"[0-9a-f]{16}|\d+", "N", text.replace(home, "")).strip()[:140]
            self._library.refused[f"{name}: {_kind(error)}: {short}"] += 1

    def _whole(self) -> None:
        """What lies on the disk is whole, whatever has failed."""
        self._library.same("weights folder", digests(self._made.model))
        target = self._made.home / "converted"
        if target.exists():  # whole, or not there
            found = digests(target)
            self._library.same("converted", found)


class _Killer:
    """Kills the first child that this process has, a while after it was started."""

    def __init__(self, after: float) -> None:
        self._after, self._over = after, threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _kill(self) -> None:
        while not self._over.is_set():
            found = children(os.getpid())
            if found:
                time.sleep(self._after)
                with suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGKILL)
                return
            time.sleep(0.005)


def _names_a_file(text: str) -> bool:
    return bool(re.search(r"/\S+|\.(?:json|safetensors|sqlite|wav|flac|jsonl)\b", text))


def _kind(error: BaseException) -> str:
    return type(error).__name__
