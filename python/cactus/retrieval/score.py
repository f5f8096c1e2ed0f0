"""Scores that people can read: 0 to 1, and comparable between queries, folders and embedders.

A score is the chance that a passage belongs to the query. It is a logistic function of what its
vector says and what its words say, fitted once on questions that people wrote (benchmarks/
retrieval.py). What a cosine says differs from embedder to embedder and from folder to folder:
`calibrate` finds it out, on text of the folder itself.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.retrieval.types import Embedder

FLOOR = 0.12
"""Below it there is no hit."""

_STEEPNESS, _MIDDLE = 4.1, 1.1  # of the logistic function
_WORDS, _ALONE = 0.8, 2.5  # what words count beside vectors that are trusted, and beside others

_LEAST = 0.02  # between cosines that say something
_EXCERPTS = 64
_LONG_ENOUGH = 120  # characters of a text of which an excerpt is taken
_OTHERS = 8192  # chunks that the excerpts are compared with, at most
_FEW = 16
_STRANGERS = (
    "The ferry leaves the harbour at noon and returns before dark.",
    "Add two spoons of flour, an egg and a pinch of salt, and stir well.",
    "In the second half the home team scored twice within five minutes.",
    "Painters of that time ground their colours themselves from minerals.",
    "Take one tablet after each meal, and call your doctor if you feel dizzy.",
    "The tenant pays the rent on the first working day of every month.",
    "Whales sing in long patterns that change a little from year to year.",
    "Prices of coffee fell last week, while those of cocoa went up again.",
)
"""Texts that have to do with few folders, where a folder is too small to say what is unrelated."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What cosines mean in an index, by excerpts of its own text that were searched for in it.

    unrelated   mean cosine of an excerpt with all chunks
    related     median cosine of an excerpt with the chunk that it is from
    trust       0 to 1: how well excerpts found their chunks. An embedder that does not know the
                language of the documents finds little, and words count more then
    chunks      in the index when this was measured
    """

    unrelated: float = 0.0
    related: float = 0.7
    trust: float = 0.8
    chunks: int = 0

    def fits(self, chunks: int) -> bool:
        """Whether the index has about as many chunks still."""
        return abs(chunks - self.chunks) <= self.chunks / 4

    def to_json(self) -> str:
        """For the index's notes."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | None) -> Calibration:
        """What `to_json` gave; typical numbers where there is none yet, or it is damaged."""
        try:
            made = Calibration(**json.loads(text or "{}"))
            whole = all(map(math.isfinite, asdict(made).values()))
        except (TypeError, ValueError):
            return Calibration()
        return made if whole else Calibration()

    def meaning(self, cosine: float) -> float:
        """What a cosine says: 0 for unrelated texts, about 1 for a text and a part of it."""
        return (cosine - self.unrelated) / max(self.related - self.unrelated, 1e-3)

    def score(self, cosine: float | None, words: float | None) -> float:
        """The score of a passage, 0 to 1.

        `words` is the share of the query's words that is in it, times its BM25 as a share of the
        best one's. Where one of both was not looked at, it is taken to say what the other one says.
        """
        trust = self.trust
        meaning = None if cosine is None else self.meaning(cosine)
        if meaning is None or words is None:
            both = words if meaning is None else meaning
            meaning = words = both or 0.0
            trust = 1.0
        strength = trust * meaning + (_ALONE - (_ALONE - _WORDS) * trust) * words
        return 1 / (1 + math.exp(-_STEEPNESS * max(-10.0, min(10.0, strength - _MIDDLE))))


def calibrate(db: sqlite3.Connection, embedder: Embedder, stop: StopFlag | None) -> Calibration:
    """Measure an index that has chunks. At most 8,192 vectors are read, a few at a time."""
    import numpy as np

    samples = _samples(db)
    queries = embedder.embed([_excerpt(text) for _, _, text in samples], "query", stop=stop)
    own = np.array([_own(db, row, q) for row, q in zip(samples, queries, strict=True)])
    sums, better, others = np.zeros(len(queries)), np.zeros(len(queries)), 0
    numbers = np.array([number for number, _, _ in samples])
    (chunks,) = db.execute("SELECT count(*) FROM vectors").fetchone()
    cursor = db.execute(
        "SELECT chunk, vector FROM vectors WHERE chunk % ? = 0", (max(1, chunks // _OTHERS),)
    )
    while rows := cursor.fetchmany(1024):
        cosines = queries @ _vectors([row[1] for row in rows]).T
        near = np.abs(np.array([row[0] for row in rows]) - numbers[:, None]) <= 1
        sums += cosines.sum(1)
        better += ((cosines > own[:, None]) & ~near).sum(1)
        others += len(rows)
    if others < _FEW:
        cosines = queries @ embedder.embed(_STRANGERS, "document", stop=stop).T
        sums, others = cosines.sum(1), len(_STRANGERS)
        better += (cosines > own[:, None]).sum(1)
    unrelated, related = float((sums / others).mean()), float(np.median(own))
    found = float((1 / (1 + better)).mean())  # mean reciprocal rank of an excerpt's own chunk
    trust = max(0.0, 2 * found - 1) if related > unrelated + _LEAST else 0.0
    return Calibration(unrelated, related, trust, chunks)


def _samples(db: sqlite3.Connection) -> list[tuple[int, int, str]]:
    """Chunks from all over the index: (number, file, text)."""
    numbers = [row[0] for row in db.execute("SELECT chunk FROM vectors ORDER BY chunk")]
    step = max(1, len(numbers) // (2 * _EXCERPTS))
    rows: list[tuple[int, int, str]] = [
        db.execute("SELECT id, file, text FROM chunks WHERE id = ?", (number,)).fetchone()
        for number in numbers[::step][: 2 * _EXCERPTS]
    ]
    long = [row for row in rows if len(row[2]) >= _LONG_ENOUGH]
    return (long or rows)[::2][:_EXCERPTS] if len(long) > _EXCERPTS else (long or rows)[:_EXCERPTS]


def _excerpt(text: str) -> str:
    """A quarter of a text, from its middle, in whole words where there are spaces."""
    start, size = int(0.4 * len(text)), max(1, len(text) // 4)
    if (space := text.find(" ", start, start + size // 2)) >= 0:
        start = space + 1
    end = text.find(" ", start + size)
    return text[start : end if start + size <= end < start + 2 * size else start + size]


def _own(db: sqlite3.Connection, row: tuple[int, int, str], query: NDArray[np.float32]) -> float:
    """The best cosine with the chunk that an excerpt is from, or those beside it."""
    number, file, _ = row
    near = db.execute(
        "SELECT vector FROM vectors JOIN chunks ON id = chunk WHERE chunk BETWEEN ?1 - 1 AND ?1 + 1"
        " AND file = ?2",
        (number, file),
    ).fetchall()
    return float((_vectors([vector for (vector,) in near]) @ query).max())


def _vectors(blobs: Sequence[bytes]) -> NDArray[np.float32]:
    import numpy as np

    rows = np.frombuffer(b"".join(blobs), "<f2").reshape(len(blobs), -1)
    return np.nan_to_num(rows.astype(np.float32))
