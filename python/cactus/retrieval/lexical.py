"""Search by words: BM25 over all chunks, and how much of a query is in a text."""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from cactus.retrieval.store import TOKENIZE, roll_back
from cactus.retrieval.words import query_terms, quoted, searchable

if TYPE_CHECKING:
    from cactus.retrieval.view import View

_BUDGET = 3_000
"""Chunks that are scored, about: words that are in more wait for rarer ones."""
_MOST = 20_000
"""Chunks that are scored at most, where all words of a query are in more."""


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
        self._opened: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        """Tables in memory: the tokenizer is SQLite's, so it stems words and compares texts."""
        if self._opened is None:
            db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            try:
                db.execute(f"CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='{TOKENIZE}')")
                db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(texts, instance)")
            except BaseException:
                db.close()
                raise
            self._opened = db
        return self._opened

    def close(self) -> None:
        """Free its tables; a later search makes others."""
        db, self._opened = self._opened, None
        if db is not None:
            db.close()

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
        view: View,
        terms: Terms,
        limit: int,
        allowed: Callable[[int], bool] | None,
    ) -> list[tuple[int, float]]:
        """The chunks that fit best with their BM25, the best first."""
        if not terms.words:
            return []
        chosen = ""
        if allowed is not None:
            db.create_function("allowed", 1, allowed)
            chosen = "AND allowed(rowid)"
        found: list[tuple[int, float]] = []
        for matched, share in _ways(db, view, terms, limit):
            # With +, only what is chosen gets its BM25, and only the best are sorted. A share is
            # of all places: neighbours have different numbers after the multiplication.
            found = db.execute(
                f"SELECT rowid, -rank FROM words WHERE words MATCH ? {chosen}"
                " AND (rowid * 40503 >> 4) % ? = 0 ORDER BY +rank, rowid LIMIT ?",
                (matched, share, limit),
            ).fetchall()
            if allowed is None or len(found) >= limit:
                break
        return found

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
            roll_back(self._db)
        return [share / terms.total for share in shares]

    def _stems(self, words: Sequence[str]) -> dict[str, str]:
        self._db.execute("BEGIN")
        try:
            self._db.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(words))
            rows = self._db.execute("SELECT doc, term FROM terms WHERE offset = 0").fetchall()
        finally:
            roll_back(self._db)
        return {words[number]: stem for number, stem in rows}

    def _count(self, db: sqlite3.Connection, view: View, stem: str) -> int:
        if stem not in view.common:
            row = db.execute("SELECT doc FROM temp.terms WHERE term = ?", (stem,)).fetchone()
            view.common[stem] = row[0] if row else 0
        return view.common[stem]


def _weight(count: int, chunks: int) -> float:
    """What a word counts that is in so many chunks."""
    return math.log(1 + (chunks - count + 0.5) / (count + 0.5))


def _ways(
    db: sqlite3.Connection, view: View, terms: Terms, limit: int
) -> Iterator[tuple[str, int]]:
    """Full-text queries for the chunks that are scored, each with the share of them that is enough.

    A chunk's BM25 takes a microsecond. So the rarest words choose the chunks, and the others count
    only there; where all are common, the chunks with several of them are chosen. The second way,
    for those who find too little, is all chunks with any of the words.
    """
    found = [(count, quoted(word)) for count, word in zip(terms.counts, terms.words, strict=True)]
    found += [(_matches(db, phrase), phrase) for phrase in map(quoted, terms.phrases)]
    found = sorted((count, part) for count, part in found if count)
    rare = [part for _, part in found[: bisect(list(accumulate(c for c, _ in found)), _BUDGET)]]
    first, share = " OR ".join(rare), 1
    if not rare:
        count, first = found[0]
        rare = [first]
        for _, part in found[1:]:
            if count <= _BUDGET:
                break
            both = f"{first} AND {part}"
            if (some := _matches(db, both)) >= limit:
                count, first = some, both
                rare.append(part)
        share = max(1, count // max(_MOST, 2 * limit))
    # What is in most chunks has no weight in BM25.
    others = [part for count, part in found if part not in rare and 2 * count < view.chunks]
    yield f"({first}) AND ({first} OR {' OR '.join(others)})" if others else first, share
    if len(rare) < len(found) or share > 1:
        yield " OR ".join(part for _, part in found), 1


def _matches(db: sqlite3.Connection, query: str) -> int:
    row = db.execute("SELECT count(*) FROM words WHERE words MATCH ?", (query,)).fetchone()
    return int(row[0])
