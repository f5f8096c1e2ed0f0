"""Search by words: BM25 over all chunks, and how much of a query is in a text."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.retrieval.store import TOKENIZE
from cactus.retrieval.words import query_terms, quoted, searchable

if TYPE_CHECKING:
    from cactus.retrieval.view import View

_BUDGET = 3_000
"""Chunks that are scored, about: words that are in more wait for rarer ones."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The words of a query that are in the index, the rarest first, with their weights.

    missing   the weight of the words that are in no chunk
    """

    words: tuple[str, ...]
    weights: tuple[float, ...]
    counts: tuple[int, ...]
    phrases: tuple[str, ...]
    missing: float

    @property
    def total(self) -> float:
        """The weight of all words of the query."""
        return sum(self.weights) + self.missing


class Lexical:
    """Searches by words. Not for several threads at once."""

    def __init__(self) -> None:
        # The tokenizer is SQLite's, so that a word is stemmed, and a text compared, by it.
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute(f"CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='{TOKENIZE}')")
        self._db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(texts, instance)")

    def terms(self, db: sqlite3.Connection, view: View, query: str) -> Terms:
        """What of a query can be looked for."""
        words, phrases = query_terms(query)
        stems = self._stems(words)
        found: dict[str, tuple[int, str]] = {}  # by stem: a word is looked for once
        missing = 0.0
        for word in words:
            if (stem := stems.get(word)) is None or stem in found:
                continue
            if (count := self._count(db, view, stem)) == 0:
                missing += _weight(0, view.chunks)
            found[stem] = (count, word)
        order = sorted((count, word) for count, word in found.values() if count)
        return Terms(
            tuple(word for _, word in order),
            tuple(_weight(count, view.chunks) for count, _ in order),
            tuple(count for count, _ in order),
            tuple(phrases),
            missing,
        )

    def search(
        self,
        db: sqlite3.Connection,
        terms: Terms,
        limit: int,
        allowed: Callable[[int], bool] | None,
    ) -> list[tuple[int, float]]:
        """The chunks that fit best with their BM25, the best first."""
        if not terms.words:
            return []
        rare = scored = 0
        for count in terms.counts:
            scored += count
            if rare and scored > _BUDGET:
                break
            rare += 1
        first = " OR ".join(map(quoted, (*terms.words[:rare], *terms.phrases)))
        if common := terms.words[rare:]:
            # They count where one of the others is, and bring in nothing by themselves.
            first = f"({first}) AND ({first} OR {' OR '.join(map(quoted, common))})"
        cursor = db.execute(
            "SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank"
            + (f" LIMIT {limit}" if allowed is None else ""),
            (first,),
        )
        best: list[tuple[float, int]] = []
        for chunk, rank in cursor:
            if allowed is None or allowed(chunk):
                best.append((rank, chunk))
                if len(best) >= limit:
                    break
        return [(chunk, -rank) for rank, chunk in sorted(best)]

    def coverage(self, terms: Terms, texts: Sequence[str]) -> list[float]:
        """The share of the query's words that is in each text, by weight."""
        shares = [0.0] * len(texts)
        if not terms.words:
            return shares
        self._db.execute("BEGIN")
        try:
            self._db.executemany(
                "INSERT INTO texts (rowid, text) VALUES (?, ?)",
                enumerate(map(searchable, texts)),
            )
            for word, weight in zip(terms.words, terms.weights, strict=True):
                for (number,) in self._db.execute(
                    "SELECT rowid FROM texts WHERE texts MATCH ?", (quoted(word),)
                ):
                    shares[number] += weight
        finally:
            self._db.execute("ROLLBACK")
        return [share / terms.total for share in shares]

    def _stems(self, words: Sequence[str]) -> dict[str, str]:
        self._db.execute("BEGIN")
        try:
            self._db.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(words))
            rows = self._db.execute("SELECT doc, term FROM terms WHERE offset = 0").fetchall()
        finally:
            self._db.execute("ROLLBACK")
        return {words[number]: stem for number, stem in rows}

    def _count(self, db: sqlite3.Connection, view: View, stem: str) -> int:
        if stem not in view.common:
            row = db.execute("SELECT doc FROM temp.terms WHERE term = ?", (stem,)).fetchone()
            view.common[stem] = row[0] if row else 0
        return view.common[stem]


def _weight(count: int, chunks: int) -> float:
    """What a word counts that is in so many chunks."""
    return math.log(1 + (chunks - count + 0.5) / (count + 0.5))
