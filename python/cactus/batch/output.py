"""Where the results of a job go, and what every kind of output has."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cactus.batch.journal import Journal

if TYPE_CHECKING:
    from cactus.batch.columns import Columns
    from cactus.batch.rows import Input
    from cactus.batch.works.work import Work


class Written(Protocol):
    """The rows of an output that are done, as a `Journal` has them."""

    done: bytearray
    rows: int
    errors: int

    def write(self, lines: Iterable[tuple[int, bool, bytes]]) -> None:
        """Append lines: the index of each row, whether it has an error, the bytes of the line."""

    def close(self) -> None:
        """The end; safe to call twice."""


class Output:
    """A file of JSON lines: it is its own journal. Other kinds are made of theirs at the end."""

    full_lines = True
    """Whether the lines of the journal have the input's columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path
        self.state = path.with_name(f"{path.name}.batch.json")
        self.lock = path.with_name(f"{path.name}.batch.lock")

    @property
    def taken(self) -> bool:
        """Whether something is there."""
        return self.path.exists()

    def prepare(self) -> None:
        """Make what must be there before anything is written."""

    def remove(self) -> None:
        """Take away what is there of it."""
        for path in {self.path, self.journal}:
            with suppress(FileNotFoundError):
                path.unlink()

    def opened(self, work: Work, columns: Columns, source: Input, total: int) -> Written:
        """What is done of so many rows, to be gone on with."""
        return Journal(self.journal, total, work.entry)

    def finish(self, columns: Columns, source: Input, total: int) -> None:
        """Make the output of the journal, in which all rows are. It is there in one go."""

    def clean(self) -> None:
        """Take away what a whole output does not need."""


class OutputInFolder(Output):
    """A folder, with what the job notes for itself in it."""

    @property
    def taken(self) -> bool:
        return self.path.exists() and any(
            file.name != self.lock.name for file in self.path.iterdir()
        )

    def prepare(self) -> None:
        self.path.mkdir(exist_ok=True)
