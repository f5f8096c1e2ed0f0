"""The columns of an output: what is kept of the input, and what is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cactus.batch.rows import Input, Row, Wanted, every

OWN = ("index", "error")
"""Columns that every output has."""


@dataclass(frozen=True)
class Columns:
    """`new` are those of the job, `vectors` those of them that are lists of float32.

    `keep` are those of the input that the output has, too; None for all.
    """

    new: Sequence[str]
    vectors: Sequence[str] = ()
    keep: Sequence[str] | None = None

    def kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the output has of a row of the input."""
        if self.keep is None:
            return dict(values)
        return {name: values[name] for name in self.keep if name in values}

    def names_of(self, given: Iterable[str]) -> list[str]:
        """Which of the input's columns the output has."""
        return [name for name in given if self.keep is None or name in self.keep]

    def clash(self, values: Mapping[str, Any]) -> str | None:
        """What is wrong where a row has columns that the output would have twice."""
        for name in (*OWN, *self.new):
            if name in values and (self.keep is None or name in self.keep):
                return (
                    f"the output has a column {name!r} of its own; --keep says which columns of "
                    "the input are written, too"
                )
        return None

    def rows(self, source: Input, wanted: Wanted = every) -> Iterator[Row]:
        """The rows that are wanted; one whose columns the output has itself is wrong."""
        for row in source.rows(wanted):
            wrong = row.wrong or self.clash(row.values)
            yield row if wrong is None else Row(row.index, row.place, wrong=wrong)
