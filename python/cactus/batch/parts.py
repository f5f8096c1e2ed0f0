"""A folder of Parquet files: rows are there for good as soon as there are enough of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cactus.batch.columns import Columns
from cactus.batch.journal import Entry, Journal
from cactus.batch.output import OutputInFolder, Written
from cactus.batch.parquet import Parquet, column_of, kept_types, pyarrow_module, read_errors
from cactus.batch.rows import Input
from cactus.batch.works.work import Work
from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.text import one_line, reason_of

PART = 16_384
"""Rows of a file."""


class PartsOutput(OutputInFolder):
    """A folder in which `part-00000.parquet` and so on are one table, in any order of its rows.

    Those of other machines are `block-*.parquet`. The job's other files in it begin with "_", which
    whatever reads such a folder passes over.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        pyarrow_module()
        self.state = path / "_batch.json"
        self.lock = path / "_batch.lock"

    def remove(self) -> None:
        for kind in ("part-*.parquet", "block-*.parquet", "_part-*", "_block-*"):
            for file in self.path.glob(kind):
                file.unlink()

    def opened(self, work: Work, columns: Columns, source: Input, total: int) -> Written:
        self._parts = Parts(self.path, schema_of(work, columns, source), total, work.entry)
        return self._parts

    def finish(self, columns: Columns, source: Input, total: int) -> None:
        self._parts.finish()


@dataclass(frozen=True)
class Part:
    """A file that is there for good when it has lost the "_" of its name."""

    name: str
    rows: list[tuple[int, bool]]
    """The index of each, and whether it has an error."""


@dataclass(frozen=True)
class PartWriter:
    """Makes files of the lines of rows, in a folder that may be another machine's, too."""

    folder: Path
    schema: Any

    def write(self, name: str, lines: Iterable[bytes]) -> Part:
        """A file of lines. It is on the disk, and nobody takes it for one of the table."""
        pa = pyarrow_module()
        rows = sorted(map(json.loads, lines), key=lambda row: row["index"])
        for row in rows:
            self._fit(row)
        cells = [column_of(rows, field.name, field.type) for field in self.schema]
        with (self.folder / name).open("wb") as target:
            pa.parquet.write_table(pa.table(cells, schema=self.schema), target)
            target.flush()
            os.fsync(target.fileno())
        return Part(name, [(row["index"], row["error"] is not None) for row in rows])

    def _fit(self, row: dict[str, Any]) -> None:
        """What a column of numbers cannot hold is an error of its row."""
        pa = pyarrow_module()
        for field in self.schema:
            value = row.get(field.name)
            if not isinstance(value, int) or field.type not in (pa.int64(), pa.float64()):
                continue
            try:
                if field.type == pa.float64():
                    row[field.name] = float(value)
                elif not -(2**63) <= value < 2**63:
                    raise OverflowError
            except OverflowError:
                row[field.name] = None
                row["error"] = (
                    f"column {field.name!r} has numbers of 64 bits, got one of "
                    f"{len(str(value))} digits"
                )


class Parts:
    """The rows that are done: those in files of Parquet, and a journal of those that are not yet.

    A file is there whole or not at all. Each that is made of the journal has one of its own, which
    is nothing any more as soon as the file is there: so no row is in two. `writer` makes files
    elsewhere, for `adopt`.
    """

    def __init__(self, folder: Path, schema: Any, total: int, entry: Entry) -> None:
        self._folder, self._entry = folder, entry
        self.writer = PartWriter(folder.absolute(), schema)
        self.done = bytearray(total)
        self.rows = self.errors = self._number = 0
        for part in sorted((*folder.glob("part-*.parquet"), *folder.glob("block-*.parquet"))):
            self._read(part)
        while self._part().exists():
            self._number += 1
        self._sweep(self._pending_path())
        self._pending = Journal(self._pending_path(), total, entry)
        for index, done in enumerate(self._pending.done):
            if done:
                self._count(index, False, self._pending.path)
        self.errors += self._pending.errors

    def _part(self) -> Path:
        return self._folder / f"part-{self._number:05}.parquet"

    def _pending_path(self) -> Path:
        return self._folder / f"_part-{self._number:05}.jsonl"

    def _sweep(self, but: Path | None = None) -> None:
        """Take away what is no file of the table, and will not be one."""
        for file in (*self._folder.glob("_part-*"), *self._folder.glob("_block-*")):
            if file != but:
                file.unlink()

    def _read(self, part: Path) -> None:
        pa = pyarrow_module()
        try:
            table = pa.parquet.ParquetFile(part).read(["index", "error"])
            rows = zip(table["index"].to_pylist(), table["error"].to_pylist(), strict=True)
        except read_errors() as error:
            raise InvalidRequest(
                f"{part} is damaged, or not of this job: {one_line(reason_of(error))}; "
                "--restart begins anew"
            ) from None
        for index, wrong in rows:
            self._count(index, wrong is not None, part)

    def _count(self, index: Any, failed: bool, where: Path) -> None:
        """A row is done; `index` is what a file says, which may be anything."""
        known = isinstance(index, int) and 0 <= index < len(self.done)
        if not known or self.done[index]:
            raise InvalidRequest(
                f"{where}: row {short(index)} is there twice, or the input does not have it: "
                "something else has written into the folder; --restart begins anew"
            )
        self.done[index] = 1
        self.rows += 1
        self.errors += failed

    def write(self, lines: Iterable[tuple[int, bool, bytes]]) -> None:
        """Append lines: the index of each row, whether it has an error, the bytes of the line."""
        for line in lines:
            if self.done[line[0]]:
                raise AssertionError(f"row {line[0]} was done twice")
            if self._pending.rows >= PART:
                self._commit()
                self._pending = Journal(self._pending_path(), len(self.done), self._entry)
            self._pending.write([line])
            self._count(line[0], line[1], self._pending.path)

    def adopt(self, part: Part) -> None:
        """A file that `writer` has made, wherever that was, is one of the table."""
        partial = self._folder / part.name
        file = partial.with_name(part.name.removeprefix("_"))
        for index, failed in part.rows:
            self._count(index, failed, file)
        try:
            os.replace(partial, file)
        except FileNotFoundError:
            raise InvalidRequest(
                f"output: {partial} was written by another node, and is not here: the folder has "
                "to be the same one on all nodes"
            ) from None

    def _commit(self) -> None:
        """Make a file of the lines that are not in one yet."""
        pending = self._pending
        pending.close()
        with pending.path.open("rb") as file:
            part = self.writer.write(pending.path.with_suffix(".parquet").name, file)
        os.replace(self._folder / part.name, self._part())
        self.errors += sum(failed for _, failed in part.rows) - pending.errors
        self._number += 1
        pending.path.unlink()

    def close(self) -> None:
        """What is not in a file yet stays in the journal; safe to call twice."""
        self._pending.close()

    def finish(self) -> None:
        """Make the last file, when all rows are there."""
        if self._pending.rows or not (self.rows or self._number):
            self._commit()
        self._sweep()


def schema_of(work: Work, columns: Columns, source: Input) -> Any:
    """The columns of every part, with types that hold for all rows, also those not done yet."""
    pa = pyarrow_module()
    if isinstance(source, Parquet):
        given = source.file.schema_arrow
        names = columns.names_of(given.names)
        types = {name: _plain_type(given.field(name).type) for name in names}
    else:
        types = kept_types(columns, source)
    made = {name: _type(work.types.get(name)) for name in columns.new}
    made |= dict.fromkeys(columns.vectors, pa.list_(pa.float32()))
    fields = {"index": pa.int64(), **types, **made}
    return pa.schema([*fields.items(), ("error", pa.string())])


def _type(kind: Any) -> Any:
    """The type of a column of which a JSON schema says "type"; what is not one of these is text."""
    pa = pyarrow_module()
    kinds: Mapping[Any, Any] = {
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
    }
    return kinds.get(kind, pa.string()) if isinstance(kind, str) else pa.string()


def _plain_type(kind: Any) -> Any:
    """The type of what `plain` makes of values of a type."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_boolean(kind):
        return pa.bool_()
    if types.is_integer(kind) and kind != pa.uint64():
        return pa.int64()
    if types.is_floating(kind):
        return pa.float64()
    return pa.string()
