"""The process that uses the library: rounds of all its work, as often as it is told to.

It reads a JSON object for each round from stdin, and writes what came of it to stdout.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cactus import Corpus, Model

from .doors import ASKED, Doors
from .faults import Faults
from .made import QUERIES, STATES, Made, change

NAMES = 1 << 16
"""Names that Python is asked to know and to forget after the first round. Each load does that with
those of a chat template; after a thousand, the table that Python keeps of names doubles, once, to
1.9 MB."""


class Library:
    """What is loaded for the whole time, and what was said the first time."""

    def __init__(self, made: Made, faults: Faults) -> None:
        self.made, self.faults = made, faults
        self.doors = Doors(made.model, {})
        self.speech = Model(made.speech, threads=1)
        self.embedder = Model(made.embedder, threads=1)
        self.first: dict[str, Any] = {}
        self.indexed = self.turn = 0
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []

    def same(self, what: str, value: Any) -> None:
        """Something is what it was the first time. Raises AssertionError."""
        first = self.first.setdefault(what, value)
        assert value == first, f"{what}: {value!r:.2000}, first {first!r:.2000}"

    def index(self, times: int) -> None:
        """Change a document and index the folder; every tenth time anew."""
        for _ in range(times):
            self.indexed += 1
            change(self.made, self.indexed % STATES)
            if self.indexed % 10 == 0:
                self._forget_index()
            self.look(self.indexed % STATES)

    def look(self, state: int) -> None:
        """Bring the index up to date, and search it: it has all of the folder."""
        with self.corpus() as corpus:
            found = [hit.as_dict() for query in QUERIES for hit in corpus.search(query)]
            kept = sorted((hit.source, hit.start, hit.text) for hit in corpus._index.all())
        self.same(f"index in state {state}", kept)
        places = [(hit["source"], hit["start"], hit["text"]) for hit in found]
        self.same(f"search in state {state}", places)

    def corpus(self) -> Corpus:
        """The folder of documents with its index."""
        cache = self.made.home / "indexes"
        return Corpus(self.made.documents, embedder=self.embedder, cache_dir=cache, progress=False)

    def _forget_index(self) -> None:
        for file in (self.made.home / "indexes").glob("*.sqlite*"):
            if not file.name.endswith(".lock"):
                file.unlink()

    def transcribe(self, times: int) -> None:
        """Transcribe recordings."""
        for number in range(times):
            self.hear(self.made.recordings[number % 2])

    def hear(self, recording: Path) -> None:
        """Transcribe one; it says what it always has."""
        told = self.speech.transcribe(recording, language="en", vad=False, temperature=0)
        assert not told.notes, told.notes
        self.same("transcription", [told.text, [(s.start, s.end, s.text) for s in told.segments]])

    def listen(self, seconds: int) -> None:
        """Feed sound as if it were just said, as fast as it is taken."""
        live = self.speech.transcribe_live(language="en", vad=False, temperature=0)
        for begin in range(0, 16_000 * seconds, 8000):
            at = np.arange(begin, begin + 8000) / 16_000
            sound = 0.3 * np.sin(2 * np.pi * (220 + 40 * np.sin(at)) * at)
            live.feed(sound.astype(np.float32))
        live.finish()
        self.same(f"live, {seconds} s", live.text)

    def round(self, told: dict[str, Any]) -> None:
        """All of it once; `told` says how much of each."""
        from .hurt import hurt

        chosen = random.Random(told["round"])
        work: tuple[Callable[[], None], ...] = (
            lambda: self.doors.flat(told["requests"]),
            lambda: self.doors.typed(told["requests"], chosen),
            lambda: self.doors.awaited(told["requests"]),
            lambda: self.doors.load(told["loads"]),
            lambda: self.index(told["indexings"]),
            lambda: self.transcribe(told["transcriptions"]),
            lambda: self.listen(told["seconds"]),
        )
        for each in work:
            self.faults.step_clock(chosen)
            self.attempt(each)
        for name, each in hurt(self, chosen, told["faults"]).items():
            self.faults.step_clock(chosen)
            self.attempt(each, name)

    def attempt(self, work: Callable[[], None], name: str = "") -> None:
        """Do something that must not fail; what does is written down."""
        try:
            work()
        except Exception as error:
            text = "".join(traceback.format_exception(error, limit=-6))
            self.wrong.append(f"{name}: {text}")

    def result(self) -> dict[str, Any]:
        """What came of a round."""
        wrong, self.wrong = self.wrong, []
        return {
            "answers": [self.doors.answers.get(index) for index in range(len(ASKED))],
            "refused": dict(self.refused),
            "injected": self.faults.done(),
            "wrong": wrong,
            "heap": self.faults.heap(os.getpid(), time.monotonic),
        }


def main(home: str, control: str) -> None:
    """What runs in the process."""
    told_to, tells = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints
    library = Library(Made(Path(home)), Faults(Path(control)))
    for number, line in enumerate(told_to):
        library.round(json.loads(line))
        if number == 0:  # when all is imported
            for name in range(NAMES):
                sys.intern(f"name {name}")
        tells.write(json.dumps(library.result()) + "\n")
        tells.flush()
    sys.exit(0)
