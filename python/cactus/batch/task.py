"""What one process does of a job: its share of the rows, as lines of the output."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cactus.batch.columns import Columns
from cactus.batch.folders import Documents
from cactus.batch.inputs import open_input
from cactus.batch.job import Job
from cactus.batch.parts import PartWriter
from cactus.batch.rows import Input, Row
from cactus.batch.template import missing_column
from cactus.batch.works.work import Result
from cactus.errors import InvalidRequest
from cactus.inputs.lines import json_line

Line = tuple[int, bool, bytes]
"""The index of a row, whether it has an error, and its line of the output."""


@dataclass(frozen=True)
class Task:
    """A job on every row whose index is `part` modulo `parts`, with a model of its own.

    `load` are keywords of `Model`. `keep` are the input's columns that the output has, None for
    all; `full_lines` says whether lines have them, or only what is new.
    """

    job: Job
    input: Path
    model: Path
    load: Mapping[str, Any] = field(default_factory=dict)
    keep: Sequence[str] | None = None
    full_lines: bool = True
    part: int = 0
    parts: int = 1
    documents: Documents | None = None
    """What is written into a folder of each row, beside the lines."""
    writer: PartWriter | None = None
    """Makes files of blocks where they are done, if that is on other machines."""

    @property
    def columns(self) -> Columns:
        """Those of the output."""
        work = self.job.work()
        written = () if self.documents is None else ("written",)
        return Columns((*work.columns, *written), work.vectors, self.keep)

    def check(self, source: Input) -> None:
        """InvalidRequest if the first row has columns that the output would have twice.

        And if it lacks one that the job needs or `keep` names, where all rows have the same.
        """
        work, row = self.job.work(), next(source.rows(), None)
        if row is None or row.wrong is not None or work.OWN_LINES:
            return
        wrong = self.columns.clash(row.values)
        if wrong is None and source.SAME_COLUMNS:
            wanted = [("", name) for name in work.needed(row.values)]
            wanted += [("keep: ", name) for name in self.keep or ()]
            missing = ((by, name) for by, name in wanted if name not in row.values)
            wrong = next((by + missing_column(name, row.values) for by, name in missing), None)
        if wrong is not None:
            raise InvalidRequest(f"{row.place}: {wrong}")

    def lines(self, done: Sequence[int]) -> Generator[Line, None, None]:
        """The lines of all rows that are not `done`, in the order in which they are ready."""
        source = open_input(self.input)
        with self.opened(source.base) as lines_of:
            yield from lines_of(self.rows(source, done))

    def rows(self, source: Input, done: Sequence[int]) -> Iterator[Row]:
        """The rows of this process that are not `done`."""

        def wanted(index: int) -> bool:
            if index >= len(done):
                raise InvalidRequest(f"{self.input} has grown while it was read")
            return index % self.parts == self.part and not done[index]

        if self.job.work().OWN_LINES:
            return source.rows(wanted)
        return self.columns.rows(source, wanted)

    @contextmanager
    def opened(self, base: Path) -> Iterator[Callable[[Iterator[Row]], Iterator[Line]]]:
        """With the model loaded: what makes the lines of rows. Files are meant from `base`."""
        work, columns = self.job.work(), self.columns
        work.form = None if self.documents is None else self.documents.form
        with work.opened(self.model, self.load) as model:

            def lines(rows: Iterator[Row]) -> Iterator[Line]:
                for row, result in work.results(model, rows, base):
                    if work.OWN_LINES and isinstance(result, dict):
                        entry = work.entry(result)
                        failed = entry is None or entry[1]
                        yield row.index, failed, f"{json_line(result)}\n".encode()
                    else:
                        yield row.index, isinstance(result, str), self._line(row, result, columns)

            yield lines

    def _line(self, row: Row, result: Result, columns: Columns) -> bytes:
        made: dict[str, Any] = dict.fromkeys(columns.new)
        error = None
        if isinstance(result, str):
            error = result if row.wrong is None else f"{row.place}: {result}"
        else:
            made = result
            if self.documents is not None:
                text = made.pop("document")
                made["written"] = self.documents.write(row.values["file"], text)
        values = columns.kept(row.values) if self.full_lines else {}
        return f"{json_line({'index': row.index, **values, **made, 'error': error})}\n".encode()
