"""What one process does of a job: its share of the rows, as lines of the output."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cactus.batch.job import Job
from cactus.batch.rows import Input, Row, open_input
from cactus.batch.works.work import Result
from cactus.errors import InvalidRequest
from cactus.inputs.lines import json_line
from cactus.model import Model

Line = tuple[int, bool, bytes]
"""The index of a row, whether it has an error, and its line of the output."""

OWN = ("index", "error")
"""Columns that every output has."""


@dataclass(frozen=True)
class Task:
    """A job on every row whose index is `part` modulo `parts`, with a model of its own.

    `load` are keywords of `Model`. `keep` are the input's columns that are told of a row, None for
    all; `told` says whether lines have them, or only what is new.
    """

    job: Job
    input: Path
    model: Path
    load: Mapping[str, Any] = field(default_factory=dict)
    keep: Sequence[str] | None = None
    told: bool = True
    part: int = 0
    parts: int = 1

    def check(self, source: Input) -> None:
        """InvalidRequest if the first row has columns that the output would have twice."""
        row = next(source.rows(), None)
        if row is not None and row.wrong is None:
            wrong = self._clash(row.values)
            if wrong is not None:
                raise InvalidRequest(f"{row.place}: {wrong}")

    def lines(self, done: Sequence[int]) -> Generator[Line, None, None]:
        """The lines of all rows that are not `done`, in the order in which they are ready."""
        source, work = open_input(self.input), self.job.work()
        columns = work.columns
        with Model(self.model, **self.load) as model:
            for row, result in work.results(model, self._rows(source, done), source.base):
                yield row.index, isinstance(result, str), self._line(row, result, columns)

    def _rows(self, source: Input, done: Sequence[int]) -> Iterator[Row]:
        for row in source.rows():
            if row.index >= len(done):
                raise InvalidRequest(f"{self.input} has grown while it was read")
            if row.index % self.parts == self.part and not done[row.index]:
                wrong = row.wrong or self._clash(row.values)
                yield row if wrong is None else Row(row.index, row.place, wrong=wrong)

    def kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a row that the output has, too."""
        if self.keep is None:
            return dict(values)
        return {name: values[name] for name in self.keep if name in values}

    def _clash(self, values: Mapping[str, Any]) -> str | None:
        for name in (*OWN, *self.job.work().columns):
            if name in values and (self.keep is None or name in self.keep):
                return (
                    f"the output has a column {name!r} of its own; --keep says which columns of "
                    "the input are written, too"
                )
        return None

    def _line(self, row: Row, result: Result, columns: Sequence[str]) -> bytes:
        made: dict[str, Any] = dict.fromkeys(columns)
        error = None
        if isinstance(result, str):
            error = result if row.wrong is None else f"{row.place}: {result}"
        else:
            made = result
        values = self.kept(row.values) if self.told else {}
        return f"{json_line({'index': row.index, **values, **made, 'error': error})}\n".encode()
