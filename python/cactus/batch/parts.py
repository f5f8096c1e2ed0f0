"""A folder of Parquet files: rows are there for good as soon as there are enough of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cactus.batch.columns import Columns
from cactus.batch.journal import Entry, Journal
from cactus.batch.output import Output, Written
from cactus.batch.parquet import Parquet, column_of, pyarrow_module, types_of
from cactus.batch.rows import Input
from cactus.batch.tables import names_of
from cactus.batch.works.work import Work
from cactus.errors import InvalidRequest

PART = 16_384
"""Rows of a file."""


class PartsOutput(Output):
    """A folder in which `part-00000.parquet` and so on are one table, in any order of its rows.

    The job's other files in it begin with "_", which whatever reads such a folder passes over.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        pyarrow_module()
        self.state = path / "_batch.json"
        self.lock = path / "_batch.lock"

    @property
    def taken(self) -> bool:
        return self.path.exists() and any(
            file.name != self.lock.name for file in self.path.iterdir()
        )

    def prepare(self) -> None:
        self.path.mkdir(exist_ok=True)

    def remove(self) -> None:
        for file in (*self.path.glob("part-*.parquet"), *self.path.glob("_part-*")):
            file.unlink()

    def opened(self, work: Work, columns: Columns, source: Input, total: int) -> Written:
        self._parts = Parts(self.path, schema_of(work, columns, source), total, work.entry)
        return self._parts

    def finish(self, columns: Columns, source: Input, total: int) -> None:
        self._parts.finish()


class Parts:
    """The rows that are done: those in files of Parquet, and a journal of those that are not yet.

    A file is there whole or not at all. Each has a journal of its own, which is nothing any more
    as soon as the file is there: so no row is in two.
    """

    def __init__(self, folder: Path, schema: Any, total: int, entry: Entry) -> None:
        self._folder, self._schema, self._entry = folder, schema, entry
        pa = pyarrow_module()
        self._numbers = [each.name for each in schema if each.type in (pa.int64(), pa.float64())]
        self.done = bytearray(total)
        self.rows = self.errors = self._number = 0
        while (part := self._part()).exists():
            self._read(part)
            self._number += 1
        for journal in folder.glob("_part-*"):
            if journal != self._pending_path():
                journal.unlink()
        self._pending = Journal(self._pending_path(), total, entry)
        for index, done in enumerate(self._pending.done):
            if done:
                self._count(index, False, self._pending.path)
        self.errors += self._pending.errors

    def _part(self) -> Path:
        return self._folder / f"part-{self._number:05}.parquet"

    def _pending_path(self) -> Path:
        return self._folder / f"_part-{self._number:05}.jsonl"

    def _read(self, part: Path) -> None:
        pa = pyarrow_module()
        try:
            table = pa.parquet.ParquetFile(part).read(["index", "error"])
            rows = zip(table["index"].to_pylist(), table["error"].to_pylist(), strict=True)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InvalidRequest(
                f"{part} is damaged, or not of this job: {error}; --restart begins anew"
            ) from None
        for index, wrong in rows:
            self._count(index, wrong is not None, part)

    def _count(self, index: int, failed: bool, where: Path) -> None:
        if not 0 <= index < len(self.done) or self.done[index]:
            raise InvalidRequest(
                f"{where}: row {index} is there twice, or the input does not have it: something "
                "else has written into the folder; --restart begins anew"
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

    def _commit(self) -> None:
        """Make a file of the lines that are not in one yet."""
        pa = pyarrow_module()
        self._pending.close()
        with self._pending.path.open("rb") as file:
            rows = sorted(map(json.loads, file), key=lambda row: row["index"])
        for row in rows:
            self._fit(row)
        cells = [column_of(rows, field.name, field.type) for field in self._schema]
        partial = self._pending.path.with_suffix(".parquet")
        with partial.open("wb") as target:
            pa.parquet.write_table(pa.table(cells, schema=self._schema), target)
            target.flush()
            os.fsync(target.fileno())
        os.replace(partial, self._part())
        self._number += 1
        self._pending.path.unlink()

    def _fit(self, row: dict[str, Any]) -> None:
        """What a column of numbers cannot hold is an error of its row."""
        pa = pyarrow_module()
        for name in self._numbers:
            value = row.get(name)
            whole = self._schema.field(name).type == pa.int64()
            try:
                if isinstance(value, int) and not whole:
                    row[name] = float(value)
                elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                    raise OverflowError
            except OverflowError:
                row[name] = None
                self.errors += row["error"] is None
                row["error"] = (
                    f"column {name!r} has numbers of 64 bits, got one of {len(str(value))} digits"
                )

    def close(self) -> None:
        """What is not in a file yet stays in the journal; safe to call twice."""
        self._pending.close()

    def finish(self) -> None:
        """Make the last file, when all rows are there."""
        if self._pending.rows or not self._number:
            self._commit()
        else:
            self._pending.path.unlink(missing_ok=True)


def schema_of(work: Work, columns: Columns, source: Input) -> Any:
    """The columns of every part, with types that hold for all rows, also those not done yet."""
    pa = pyarrow_module()
    if isinstance(source, Parquet):
        given = source.file.schema_arrow
        kept = [name for name in given.names if columns.keep is None or name in columns.keep]
        types = {name: _plain_type(given.field(name).type) for name in kept}
    else:
        names = names_of((columns.kept(row.values) for row in columns.rows(source)), ())
        kept = [name for name in names if name != "index"]
        types = types_of((columns.kept(row.values) for row in columns.rows(source)), kept, columns)
    made = {name: _type(work.types.get(name)) for name in columns.new}
    made |= dict.fromkeys(columns.vectors, pa.list_(pa.float32()))
    fields = {"index": pa.int64(), **{name: types[name] for name in kept}, **made}
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
