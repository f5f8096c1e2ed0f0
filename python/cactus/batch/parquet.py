"""Parquet files, by pyarrow: read batch by batch, written with the types that columns have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from cactus.batch.columns import Columns
from cactus.batch.plain import cell, plain
from cactus.batch.rows import Input, Row, Wanted, every
from cactus.batch.tables import Results, Table, merged, names_of
from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.text import cut, one_line, reason_of

BLOCK = 4096
"""Rows that are read or written together."""


def pyarrow_module() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidRequest(
            "Parquet files need pyarrow: python -m pip install 'cactus[batch]'"
        ) from None
    return pyarrow


def read_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises for a damaged file, or for values that Python does not have.

    ValueError where names or texts are no UTF-8, OverflowError for dates behind the year 9999.
    """
    return (pyarrow_module().ArrowException, OSError, ValueError, KeyError, OverflowError)


class Parquet(Input):
    """A Parquet file. What JSON does not have is told as a text (`plain`)."""

    SAME_COLUMNS = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        pa = pyarrow_module()
        try:
            self.file = pa.parquet.ParquetFile(path)
        except read_errors() as error:
            raise InvalidRequest(
                f"input {str(path)!r} is not a Parquet file: {one_line(reason_of(error))}"
            ) from None
        meta = self.file.metadata
        groups = sum(meta.row_group(n).num_rows for n in range(meta.num_row_groups))
        if not 0 <= meta.num_rows == groups:
            raise InvalidRequest(
                f"{path} is damaged: its footer says {meta.num_rows} rows, its groups of rows have "
                f"{groups}"
            )
        names = self.file.schema_arrow.names
        for name in names:
            if names.count(name) > 1:
                raise InvalidRequest(f"{path}: two columns have the name {name!r}")

    def batches(self) -> Iterator[Any]:
        """The rows in blocks, as pyarrow has them."""
        found = 0
        try:
            for batch in self.file.iter_batches(batch_size=BLOCK):
                found += batch.num_rows
                yield batch
        except read_errors() as error:
            raise InvalidRequest(f"{self.path} is damaged: {one_line(reason_of(error))}") from None
        if found != self.count():
            raise InvalidRequest(
                f"{self.path} is damaged: {found} rows can be read, and its footer says "
                f"{self.count()}"
            )

    def rows(self, wanted: Wanted = every) -> Iterator[Row]:
        pa = pyarrow_module()
        first = 0
        for batch in self.batches():
            taken = [n for n in range(batch.num_rows) if wanted(first + n)]
            found = batch.take(pa.array(taken, pa.int64()))
            for n, values in zip(taken, plain_rows(found, str(self.path)), strict=True):
                yield Row(first + n, f"{self.path.name}, row {first + n + 1}", values)
            first += batch.num_rows

    def count(self) -> int:
        return int(self.file.metadata.num_rows)


def plain_rows(table: Any, where: str = "batch") -> Iterator[dict[str, Any]]:
    """The rows of a table or a record batch, as JSON has them. InvalidRequest naming a column."""
    columns = {name: _values(name, table.column(name), where) for name in table.schema.names}
    for number in range(table.num_rows):
        yield {name: column[number] for name, column in columns.items()}


def _values(name: str, column: Any, where: str) -> list[Any]:
    import pyarrow.types as types

    kind = column.type
    try:
        if types.is_timestamp(kind) or types.is_decimal(kind) or types.is_time(kind):
            column = column.cast("string")  # Python has no nanoseconds
        elif types.is_duration(kind):
            column = column.cast("int64")
        return [plain(value) for value in column.to_pylist()]
    except read_errors() as error:
        raise InvalidRequest(
            f"{where}: column {short(name)} of {cut(str(kind))}: {one_line(reason_of(error))}"
        ) from None


class ParquetOutput(Table):
    """A Parquet file. Columns of a Parquet input keep their types.

    Others have that of their values: texts, whole numbers, numbers, yes and no; vectors are lists
    of float32, and what is of several types or nested is JSON in a text.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        pyarrow_module()

    def write(self, path: Path, columns: Columns, source: Input, results: Results) -> None:
        pa = pyarrow_module()
        made = (results[index] for index in range(len(results)))
        new = {**types_of(made, columns.new, columns), "error": pa.string()}
        if isinstance(source, Parquet):
            blocks = self._beside(columns, source, results, new)
        else:
            blocks = self._of_rows(columns, source, results, new)
        schema = next(blocks)
        with pa.parquet.ParquetWriter(path, schema) as writer:
            for block in blocks:
                writer.write_table(block)

    def _of_rows(
        self, columns: Columns, source: Input, results: Results, new: Mapping[str, Any]
    ) -> Iterator[Any]:
        pa = pyarrow_module()
        types = {"index": pa.int64(), **kept_types(columns, source), **new}
        schema = pa.schema([*types.items()])
        yield schema
        rows = merged(columns, source, results)
        while block := list(islice(rows, BLOCK)):
            cells = [column_of(block, name, kind) for name, kind in types.items()]
            yield pa.table(cells, schema=schema)

    def _beside(
        self, columns: Columns, source: Parquet, results: Results, new: Mapping[str, Any]
    ) -> Iterator[Any]:
        """What is kept stays as it is, to the bit."""
        pa = pyarrow_module()
        given = source.file.schema_arrow
        kept = columns.names_of(given.names)
        fields = [pa.field("index", pa.int64()), *(given.field(name) for name in kept)]
        schema = pa.schema([*fields, *(pa.field(name, kind) for name, kind in new.items())])
        yield schema
        index = 0
        for batch in source.batches():
            rows = [results[each] for each in range(index, index + batch.num_rows)]
            index += batch.num_rows
            cells = [column_of(rows, "index", pa.int64()), *(batch.column(name) for name in kept)]
            cells += [column_of(rows, name, kind) for name, kind in new.items()]
            yield pa.table(cells, schema=schema)


def kept_types(columns: Columns, source: Input) -> dict[str, Any]:
    """The columns of the input that the output has, and the type of each: that of its values."""
    names = names_of(columns, source)
    return types_of((columns.kept(row.values) for row in columns.rows(source)), names, columns)


def types_of(
    rows: Iterable[Mapping[str, Any]], names: Sequence[str], columns: Columns
) -> dict[str, Any]:
    """The type of each column: that of its values. Without any but vectors no row is read."""
    pa = pyarrow_module()
    found: dict[str, set[str]] = {name: set() for name in names if name not in columns.vectors}
    for row in rows if found else ():
        for name in found:
            value = row.get(name)
            if value is not None:
                found[name].add(_kind(value))
    types = {
        frozenset(): pa.string(),
        frozenset(("bool",)): pa.bool_(),
        frozenset(("int",)): pa.int64(),
        frozenset(("float",)): pa.float64(),
        frozenset(("int", "float")): pa.float64(),
        frozenset(("vector",)): pa.list_(pa.float64()),
    }
    chosen = {name: types.get(frozenset(kinds), pa.string()) for name, kinds in found.items()}
    return {name: chosen.get(name, pa.list_(pa.float32())) for name in names}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list) and value and all(type(each) is float for each in value):
        return "vector"
    return "text"


def column_of(rows: list[dict[str, Any]], name: str, kind: Any) -> Any:
    """The values of a column as an array of that type."""
    pa = pyarrow_module()
    values = [row.get(name) for row in rows]
    if kind == pa.string():
        values = [None if value is None else cell(value) for value in values]
    return pa.array(values, kind)
