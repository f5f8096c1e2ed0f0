"""Outputs that are one table: made at the end, of the lines that are done and the input again."""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cactus.batch.columns import Columns
from cactus.batch.output import Output
from cactus.batch.plain import cell
from cactus.batch.rows import Input
from cactus.inputs.files import naming


class Results:
    """The lines of a journal by the indices of their rows; a number for each is in memory."""

    def __init__(self, journal: Path, total: int) -> None:
        self._file, self._path = journal.open("rb"), journal
        self._places = array("q", bytes(8 * total))
        place = 0
        with naming(journal):
            for line in self._file:
                self._places[_index_of(line)] = place
                place += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        with naming(self._path):
            self._file.seek(self._places[index])
            row: dict[str, Any] = json.loads(self._file.readline())
        return row

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _index_of(line: bytes) -> int:
    """The index of a row, with which its line begins; a vector in it would take long to read."""
    if line.startswith(b'{"index": '):
        return int(line[10 : line.index(b",")])
    index: int = json.loads(line)["index"]
    return index


class Table(Output, ABC):
    """A table in the order of the input. Its journal has what is new, and is gone in the end."""

    full_lines = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.journal = path.with_name(f"{path.name}.batch.jsonl")

    def finish(self, columns: Columns, source: Input, total: int) -> None:
        partial = self.path.with_name(f"{self.path.name}.part")
        results = Results(self.journal, total)
        try:
            with naming(self.path):
                self.write(partial, columns, source, results)
        finally:
            results.close()
        with naming(self.path), partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, self.path)

    def clean(self) -> None:
        self.journal.unlink(missing_ok=True)

    @abstractmethod
    def write(self, path: Path, columns: Columns, source: Input, results: Results) -> None:
        """Write the table to `path`."""


def merged(columns: Columns, source: Input, results: Results) -> Iterator[dict[str, Any]]:
    """The rows of the output: the index, what is kept of the input, what is new, the error."""
    for row in columns.rows(source):
        result = results[row.index]
        yield {"index": result.pop("index"), **columns.kept(row.values), **result}


def names_of(columns: Columns, source: Input) -> list[str]:
    """The columns of the input that the output has, in the order in which they appear."""
    names: dict[str, None] = {}
    for row in columns.rows(source):
        names.update(dict.fromkeys(columns.kept(row.values)))
    return list(names)


class CsvOutput(Table):
    """A CSV file, or with tabs a TSV."""

    def write(self, path: Path, columns: Columns, source: Input, results: Results) -> None:
        names = ["index", *names_of(columns, source), *columns.new, "error"]
        delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerow(names)
            for row in merged(columns, source, results):
                writer.writerow([cell(row.get(name)) for name in names])
