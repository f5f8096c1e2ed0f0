"""Blocks of rows, done by a process that holds the model: a row that kills it ends alone."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cactus.batch.rows import Row
from cactus.batch.task import Line, Task
from cactus.batch.workers import start
from cactus.child import end_child
from cactus.errors import CactusError

TRIES = 2
"""So often a row may end the process: once may be for a cause elsewhere, such as full memory."""


class Ended(CactusError):
    """The process that held the model has ended by itself. `status`: with what, never 0."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class NotLoaded(CactusError):
    """The process that was to load the model has ended by itself."""


class Blocks:
    """A process with the model of a task, made again where a row has ended it.

    `base`: the folder from which names of files in rows are meant. Raises what loading the model
    does. To be closed.
    """

    def __init__(self, task: Task, base: Path) -> None:
        self._first = task, base
        self._process: Any = None
        self._open()

    def lines(self, rows: Sequence[Row], tries: int = TRIES) -> list[Line]:
        """The line of each row, in the order in which they were ready.

        Rows whose process ends are done again, `tries` times at most; then each half of them alone,
        until it is one row, which becomes an error. Raises what ends the work as a whole.
        """
        found: list[Line] = []
        left, status = list(rows), 0
        while left and tries:
            status = self._ask(left, found)
            there = {line[0] for line in found}
            left = [row for row in left if row.index not in there]
            tries -= 1
        if len(left) > 1:
            half = len(left) // 2
            for part in (left[:half], left[half:]):
                found += self.lines(part, TRIES if len(part) == 1 else 1)
        elif left:
            wrong = f"the process that did this row ended with status {status}, {TRIES} times"
            if status := self._ask([replace(left[0], values={}, wrong=wrong)], found):
                raise CactusError(
                    f"{left[0].place}: its process ends even where it is an error, with status "
                    f"{status}"
                )
        return found

    def _ask(self, rows: list[Row], found: list[Line]) -> int:
        """Add the lines of rows to `found`; 0, or what the process has ended with on the way."""
        if self._process is None:
            self._open()
        try:
            with suppress(BrokenPipeError):
                pickle.dump(rows, self._process.stdin)
                self._process.stdin.flush()
            while (message := self._receive()) is not None:
                found.append(message)
        except Ended as end:
            return end.status
        return 0

    def _open(self) -> None:
        self._process = start("blocks", self._first)
        self._end = weakref.finalize(self, end_child, self._process)
        try:
            self._receive()
        except Ended as end:
            raise NotLoaded(
                f"the process that loads the model ended with status {end.status}: it crashed, "
                "was killed, or the machine has too little memory"
            ) from None

    def _receive(self) -> Line | None:
        try:
            message = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError, OSError, ValueError):
            status = self._process.wait()
            self.close()
            raise Ended(status or 1) from None
        if isinstance(message, BaseException):
            self.close()
            raise message
        return message  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process, as the end of this object does; safe to call twice."""
        if self._process is not None:
            self._process = None
            self._end()
