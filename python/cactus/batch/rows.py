"""What a job reads: a file or a folder as rows, one after another, never all in memory."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.files import naming, open_regular
from cactus.inputs.lines import LONGEST, Wrong, numbered_lines, parse_row
from cactus.inputs.text import reason_of

HEAD = 1 << 20
"""Bytes of a file's beginning by which it is recognised."""

TEXTS = (".txt", ".text", ".md", ".markdown", ".rst")
"""Endings of files in a folder whose text is read."""


Wanted = Callable[[int], bool]
"""Whether the row of an index is needed; others are not told, and as little of them is read."""


def every(index: int) -> bool:
    """All rows are needed."""
    return True


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `index` counts from 0 on, `place` says where it is from, to be read.

    `wrong` is why it cannot be used; it then has no values.
    """

    index: int
    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    wrong: str | None = None


class Input(ABC):
    """A file or a folder of rows. Errors of the whole are InvalidRequest, those of a row its own.

    `base` is the folder from which names of files in the rows are meant.
    """

    SAME_COLUMNS: ClassVar[bool] = False
    """Whether all rows have the columns of the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.parent

    @abstractmethod
    def rows(self, wanted: Wanted = every) -> Iterator[Row]:
        """The rows that are wanted, read as they are asked for."""

    def count(self) -> int:
        """How many rows there are."""
        return sum(1 for _ in self.rows())

    def known_by(self) -> dict[str, Any]:
        """What it is recognised by when a job goes on: size, time of the last change, beginning."""
        with opened(self.path) as file:
            status = os.fstat(file.fileno())
            digest = hashlib.blake2b(file.read(HEAD), digest_size=16).hexdigest()
        return {
            "path": str(self.path.absolute()),
            "size": status.st_size,
            "changed": status.st_mtime_ns,
            "beginning": digest,
        }


class JsonLines(Input):
    """A file of JSON objects, one a line; empty lines are nothing."""

    def rows(self, wanted: Wanted = every) -> Iterator[Row]:
        index = -1
        with opened(self.path) as file:
            for line in numbered_lines(file):
                if not isinstance(line, Wrong) and not line[1].strip():
                    continue
                index += 1
                if not wanted(index):
                    continue
                if isinstance(line, Wrong):
                    place = f"{self.path.name}, line {line.number}"
                    yield Row(index, place, wrong=line.reason)
                    continue
                place = f"{self.path.name}, line {line[0]}"
                try:
                    yield Row(index, place, parse_row(line[1]))
                except ValueError as error:
                    yield Row(index, place, wrong=str(error))

    def count(self) -> int:
        with opened(self.path) as file:
            return sum(
                1 for line in numbered_lines(file) if isinstance(line, Wrong) or line[1].strip()
            )


class Lines(Input):
    """A file of texts, one a line: the column `text`."""

    SAME_COLUMNS = True

    def rows(self, wanted: Wanted = every) -> Iterator[Row]:
        with opened(self.path) as file:
            for index, line in enumerate(numbered_lines(file)):
                if not wanted(index):
                    continue
                if isinstance(line, Wrong):
                    place = f"{self.path.name}, line {line.number}"
                    yield Row(index, place, wrong=line.reason)
                else:
                    yield Row(index, f"{self.path.name}, line {line[0]}", {"text": line[1]})


class Csv(Input):
    """A CSV file in UTF-8 with its columns' names in the first row; tabs separate those of a TSV.

    All values are texts.
    """

    SAME_COLUMNS = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","

    def rows(self, wanted: Wanted = every) -> Iterator[Row]:
        # Bytes that are not UTF-8 are the error of their row, and do not end the file.
        with opened(self.path) as file:
            text = _text_of(file, self.path)
            csv.field_size_limit(LONGEST)
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            names: list[str] | None = None
            index = 0
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    raise InvalidRequest(
                        f"{self.path}, line {reader.line_num}: not CSV: {error}"
                    ) from None
                if cells is None:
                    break
                if names is None:
                    names = self._names(cells)
                elif cells:
                    if wanted(index):
                        yield self._row(index, reader.line_num, names, cells)
                    index += 1
            if names is None:
                raise InvalidRequest(f"{self.path} is empty; expected a row of columns' names")

    def _names(self, cells: list[str]) -> list[str]:
        for name in cells:
            if cells.count(name) > 1:
                raise InvalidRequest(f"{self.path}: two columns have the name {name!r}")
            if not _is_text(name):
                raise InvalidRequest(f"{self.path}: the first row is not UTF-8")
        return cells

    def _row(self, index: int, line: int, names: list[str], cells: list[str]) -> Row:
        place = f"{self.path.name}, line {line}"
        if len(cells) != len(names):
            wrong = f"has {len(cells)} columns, expected {len(names)}"
            return Row(index, place, wrong=wrong)
        if not all(map(_is_text, cells)):
            return Row(index, place, wrong="is not UTF-8")
        return Row(index, place, dict(zip(names, cells, strict=True)))


class Folder(Input):
    """The files in a folder and its folders, sorted, without hidden ones: the column `file`.

    Of files of text (.txt, .md, .rst) the column `text`, too.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.base = path
        self.files = sorted(self._found())

    def _found(self) -> Iterator[str]:
        for folder, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if not name.startswith("."):
                    yield Path(folder, name).relative_to(self.path).as_posix()

    def rows(self, wanted: Wanted = every) -> Iterator[Row]:
        for index, name in enumerate(self.files):
            if not wanted(index):
                continue
            values = {"file": name}
            if name.lower().endswith(TEXTS):
                try:
                    with opened(self.path / name) as file:
                        values["text"] = file.read().decode("utf-8-sig")
                except (CactusError, OSError, UnicodeDecodeError) as error:
                    yield Row(index, name, wrong=f"cannot be read as text: {reason_of(error)}")
                    continue
            yield Row(index, name, values)

    def count(self) -> int:
        return len(self.files)

    def known_by(self) -> dict[str, Any]:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.files:
            status = (self.path / name).stat()
            digest.update(json.dumps([name, status.st_size, status.st_mtime_ns]).encode())
        return {
            "path": str(self.path.absolute()),
            "files": len(self.files),
            "names, sizes and times": digest.hexdigest(),
        }


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file of an input. Raises InvalidRequest."""
    try:
        file, _ = open_regular(str(path), "input", InvalidRequest)
    except InvalidRequest as error:
        raise InvalidRequest(f"input: {error}") from None
    with naming(path), file:
        yield file


def _text_of(file: IO[bytes], path: Path) -> Iterator[str]:
    first = True
    while line := file.readline(LONGEST):
        if len(line) == LONGEST and not line.endswith(b"\n"):
            raise InvalidRequest(f"{path}: a line is longer than {LONGEST >> 20} MB")
        yield line.decode("utf-8-sig" if first else "utf-8", "surrogateescape")
        first = False


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
