"""What every kind of job has: its fields, its columns, and the results of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from cactus.batch.rows import Row
from cactus.inputs.checks import known
from cactus.model import Model
from cactus.models.abilities import Ability

Result = dict[str, Any] | str
"""The columns that a row gets, or what went wrong with it."""


class Work(ABC):
    """One kind of job. `columns` are the names of those that its results have.

    Checks its fields when it is made: InvalidRequest names the field or option that is wrong.
    """

    KIND: ClassVar[str]
    FIELDS: ClassVar[tuple[str, ...]] = ()
    OPTIONS: ClassVar[frozenset[str]] = frozenset()
    ABILITY: ClassVar[Ability]
    OWN_LINES: ClassVar[bool] = False
    """Whether a result is a whole line of the output, of a shape of its own."""
    FORMS: ClassVar[tuple[str, ...]] = ()
    """Forms of a file for each row; results then have it as `document`, where `form` is set."""
    ROWS_A_PROCESS: ClassVar[int | None] = None
    """Rows that are worth a process of their own, where one for each core is the fastest."""
    columns: tuple[str, ...] = ()
    form: str | None = None
    vectors: tuple[str, ...] = ()
    """Columns that are lists of float32."""
    types: Mapping[str, Any]
    """What a JSON schema would say as "type" of columns; of others that they are texts."""

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        known(fields, self.FIELDS)
        known(options, sorted(self.OPTIONS))
        self.fields, self.options = fields, dict(options)
        self.types = {}

    def opened(self, model: Path, load: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """What results are asked of, until it is left; `load` are keywords of `Model`."""
        return Model(model, **load)

    def needed(self, columns: Collection[str]) -> Sequence[str]:
        """Which columns each row must have, of rows that have these."""
        return ()

    def entry(self, line: Mapping[str, Any]) -> tuple[int, bool] | None:
        """The index of the row that a line of the output is of, and whether it has an error.

        None where it is another line.
        """
        index = line.get("index")
        if "error" not in line or not isinstance(index, int) or isinstance(index, bool):
            return None
        return index, line["error"] is not None

    @abstractmethod
    def results(self, model: Any, rows: Iterator[Row], base: Path) -> Iterator[tuple[Row, Result]]:
        """The results of rows, in any order; the next rows are asked for as there is room.

        Names of files in rows are meant from `base`. Raises what ends the work as a whole.
        """
