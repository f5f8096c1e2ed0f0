"""Vectors and scores of texts, many rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from cactus.batch.rows import Row
from cactus.batch.template import Template
from cactus.batch.works.work import Result, Work
from cactus.errors import InvalidRequest
from cactus.inputs.lines import float32_list
from cactus.model import Model

BLOCK = 512
"""Rows that are read before their results are written."""


class Embed(Work):
    """The vector of `text`, which has places for columns; by default the column `text`."""

    KIND = "embed"
    FIELDS = ("text",)
    OPTIONS = frozenset(("batch_size", "prompt", "dimensions", "normalize", "truncate"))
    ABILITY = "embed"
    ROWS_A_PROCESS = 1000  # they take a core about a second, and its process half of one to begin

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(fields, options)
        self._text = Template("text", fields.get("text", "{text}"))
        self.columns = self.vectors = ("embedding",)

    def needed(self, columns: Collection[str]) -> Sequence[str]:
        return self._text.columns

    def results(self, model: Any, rows: Iterator[Row], base: Path) -> Iterator[tuple[Row, Result]]:
        model.embed([], **self.options)  # a wrong option is not the error of every row
        while block := list(islice(rows, BLOCK)):
            good: list[tuple[Row, str]] = []
            for row in block:
                try:
                    good.append((row, self._text.fill(_values(row))))
                except InvalidRequest as error:
                    yield row, str(error)
            yield from self._vectors(model, good)

    def _vectors(
        self, model: Model, given: Sequence[tuple[Row, str]]
    ) -> Iterator[tuple[Row, Result]]:
        """The vectors of texts; where one cannot be, of each half of them."""
        if not given:
            return
        try:
            texts = [text for _, text in given]
            vectors = model.embed(texts, progress=False, **self.options)
        except InvalidRequest as error:
            if len(given) == 1:
                yield given[0][0], str(error)
                return
            half = len(given) // 2
            yield from self._vectors(model, given[:half])
            yield from self._vectors(model, given[half:])
            return
        for (row, _), vector in zip(given, vectors, strict=True):
            yield row, {"embedding": float32_list(vector.tolist())}


class Rerank(Work):
    """How well `text` answers `query`; both have places for columns, and are them by default."""

    KIND = "rerank"
    FIELDS = ("query", "text")
    OPTIONS = frozenset(("batch_size", "truncate"))
    ABILITY = "rerank"
    ROWS_A_PROCESS = 1000

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(fields, options)
        self._query = Template("query", fields.get("query", "{query}"))
        self._text = Template("text", fields.get("text", "{text}"))
        self.columns, self.types = ("score",), {"score": "number"}

    def needed(self, columns: Collection[str]) -> Sequence[str]:
        return [*self._query.columns, *self._text.columns]

    def results(self, model: Any, rows: Iterator[Row], base: Path) -> Iterator[tuple[Row, Result]]:
        model.rerank("", [], **self.options)
        while block := list(islice(rows, BLOCK)):
            asked: dict[str, list[tuple[Row, str]]] = {}
            for row in block:
                try:
                    query, text = self._query.fill(_values(row)), self._text.fill(row.values)
                except InvalidRequest as error:
                    yield row, str(error)
                else:
                    asked.setdefault(query, []).append((row, text))
            for query, given in asked.items():
                yield from self._scores(model, query, given)

    def _scores(
        self, model: Model, query: str, given: Sequence[tuple[Row, str]]
    ) -> Iterator[tuple[Row, Result]]:
        try:
            texts = [text for _, text in given]
            ranked = model.rerank(query, texts, progress=False, **self.options)
        except InvalidRequest as error:
            if len(given) == 1:
                yield given[0][0], str(error)
                return
            half = len(given) // 2
            yield from self._scores(model, query, given[:half])
            yield from self._scores(model, query, given[half:])
            return
        for one in ranked:
            yield given[one.index][0], {"score": one.score}


def _values(row: Row) -> Mapping[str, Any]:
    """The values of a row; what is wrong with it is raised."""
    if row.wrong is not None:
        raise InvalidRequest(row.wrong)
    return row.values
