"""The lines of a job that are done: a file that any end of the process leaves usable."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.files import naming
from cactus.inputs.lines import LONGEST

Entry = Callable[[Mapping[str, Any]], "tuple[int, bool] | None"]
"""What a line is: the index of its row and whether it has an error, or None for another line."""

SYNC_SECONDS = 5
"""What is written reaches the disk so often."""


class Journal:
    """A file of JSON lines; `entry` says of which row one is, and whether that has an error.

    What is whole of it is kept; what follows the first line that is not, which a process or machine
    that ended while it wrote leaves behind, is cut off. `done` has a 1 for each row that is there,
    `errors` is how many of them have one, `sound` where the lines end that are whole.
    """

    def __init__(self, path: Path, total: int, entry: Entry) -> None:
        self.path, self._entry = path, entry
        self.done = bytearray(total)
        self.rows = self.errors = self.sound = 0
        self._file = open(path, "a+b")  # noqa: SIM115  (closed by `close`)
        try:
            with naming(path):
                self._scan()
            if self._file.seek(0, os.SEEK_END) > self.sound:
                self._file.truncate(self.sound)
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def _scan(self) -> None:
        self._file.seek(0)
        while line := self._file.readline(4 * LONGEST):
            entry = self._read(line)
            if entry is None:
                return
            index, failed = entry
            if index >= len(self.done) or self.done[index]:
                what = "twice" if index < len(self.done) else "and the input has not"
                raise InvalidRequest(
                    f"{self.path}: row {index} is there {what}: something else has written into "
                    "the file; --restart begins anew"
                )
            self._count(index, failed)
            self.sound += len(line)

    def _read(self, line: bytes) -> tuple[int, bool] | None:
        """What a line says; None where it is not whole."""
        try:
            row: Any = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            return None
        found = self._entry(row) if isinstance(row, dict) else None
        return None if found is None or found[0] < 0 else found

    def write(self, lines: Iterable[tuple[int, bool, bytes]]) -> None:
        """Append lines: the index of each row, whether it has an error, the bytes of the line."""
        block = []
        for index, failed, line in lines:
            if self.done[index]:
                raise AssertionError(f"row {index} was done twice")
            self._count(index, failed)
            block.append(line)
        with naming(self.path):
            self._file.write(b"".join(block))
            self._file.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def _count(self, index: int, failed: bool) -> None:
        self.done[index] = 1
        self.rows += 1
        self.errors += failed

    def sync(self) -> None:
        """See to it that what is written is on the disk."""
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """The end; safe to call twice."""
        if not self._file.closed:
            try:
                self.sync()
            finally:
                with naming(self.path):
                    self._file.close()
