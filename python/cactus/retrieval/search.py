"""One search: both rankings, fused, scored, and made into passages."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import NoneType
from typing import TYPE_CHECKING, Any

from cactus.retrieval.fuse import Distinct, fuse, joined, largest, matches
from cactus.retrieval.score import FLOOR, Calibration
from cactus.retrieval.types import Hit, Mode, Reranker
from cactus.retrieval.writer import whole_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.retrieval.lexical import Lexical
    from cactus.retrieval.view import View

DEPTH = 50
"""Chunks that each ranking gives."""
RERANKED = 30
"""Chunks that a reranker reads."""
SCORED = 32
"""Chunks of the fused ranking that are scored, or as many as are asked for."""

HITS = """
SELECT c.id, f.name, c.start, c.stop, c.tokens, c.page, c.line, c.begins, c.ends, c.file,
f.metadata, c.heading, c.header, c.text FROM chunks c JOIN files f ON f.id = c.file
"""
"""Of these rows `read_hit` makes hits."""
_NUMBER, _TIME = (int, NoneType), (float, NoneType)
_KINDS: tuple[type | tuple[type, ...], ...] = (
    *(int, str, int, int, int, _NUMBER, _NUMBER, _TIME, _TIME, int, str, str, str, str),
)
"""What is in the columns of `HITS`: SQLite keeps in any column whatever was put there."""


def read_hit(
    row: Sequence[Any],
    files: dict[int, dict[str, str]],
    score: float,
    dense: float | None = None,
    lexical: float = 0.0,
) -> Hit:
    """The hit that a row of `HITS` is; `files` keeps the metadata of each file.

    Raises one of `NONSENSE` for values that no index holds.
    """
    fit = all(isinstance(value, kind) for value, kind in zip(row, _KINDS, strict=True))
    if not fit or not row[1]:
        raise TypeError("a row of an index with values of another kind")
    number, name, start, stop, tokens, page, line, begins, ends, file, metadata, *words = row
    heading, _, text = words
    if file not in files:
        files[file] = read_metadata(metadata)
    if stop - start != len(text):
        raise ValueError("a text of an index that is not as long as its place")
    return Hit(
        score=score,
        text=text,
        source=name,
        start=start,
        end=stop,
        heading=heading,
        page=page,
        line=line,
        time=None if begins is None else (begins, ends),
        chunk_id=number,
        tokens=tokens,
        dense=dense,
        lexical=lexical,
        metadata=files[file],
    )


def read_metadata(text: str) -> dict[str, str]:
    """What is known of a file; raises one of `NONSENSE` where that is not an object of texts."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise TypeError("metadata of an index that is not an object of texts")
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """What is searched for, checked."""

    query: str
    top_k: int
    mode: Mode
    paths: Sequence[str] | None
    metadata: Mapping[str, Any] | None
    neighbours: int
    floor: bool
    rerank: Reranker | None


class Search:
    """A search in one state of an index. `vector` is the query's, None without dense search."""

    def __init__(
        self,
        db: sqlite3.Connection,
        view: View,
        lexical: Lexical,
        request: Request,
        vector: NDArray[np.float32] | None,
    ) -> None:
        self._db, self._view, self._lexical = db, view, lexical
        self._request = request
        self._cosines = None if vector is None else view.cosines(db, vector)
        self._terms = lexical.terms(db, view, request.query)
        self._calibration = Calibration.from_json(view.meta.get("calibration"))
        self._ranks: dict[int, float] = {}  # BM25 as a share of the best one's

    def hits(self) -> list[Hit]:
        """The passages found, the best first."""
        request = self._request
        found: Iterable[Hit] = self._scored(self._ranked())
        if request.mode == "hybrid":
            found = sorted(found, key=lambda hit: -hit.score)
        if request.floor:
            found = (hit for hit in found if hit.score >= FLOOR)
        if request.rerank is not None:
            found = self._reranked(list(islice(found, RERANKED)))
        hits: list[Hit] = []
        distinct, shown = Distinct(), set[int]()
        lowest = math.inf
        for hit in found:
            if hit.chunk_id in shown:
                continue
            # The text of a picture is the words of its path, which others share.
            same = None if hit.metadata.get("kind") == "picture" else distinct.add(hit.text)
            if same is not None:
                if same < len(hits):
                    place = (hit.source, hit.start, hit.end)
                    hits[same] = replace(hits[same], also=(*hits[same].also, place))
                continue
            if len(hits) >= request.top_k:
                break
            lowest = min(lowest, hit.score)
            hits.append(replace(self._with_neighbours(hit, shown), score=lowest))
        return hits

    def _ranked(self) -> list[int]:
        """Chunks by both rankings, the best first."""
        request, view = self._request, self._view
        wanted = min(request.top_k, view.chunks)
        depth = max(DEPTH, wanted)
        allowed = self._allowed()
        rankings: list[Sequence[int]] = []
        if self._cosines is not None:
            import numpy as np

            values = self._cosines
            if allowed is not None:
                values = np.where(allowed, values, np.float32(-np.inf))
            rankings.append(view.ids()[largest(values, depth)].tolist())
        if request.mode != "dense":
            fits = None
            if allowed is not None:
                fits = set(view.ids()[allowed].tolist()).__contains__
            found = self._lexical.search(self._db, view, self._terms, depth, fits)
            best = max((rank for _, rank in found), default=0.0) or 1.0
            self._ranks = {chunk: rank / best for chunk, rank in found}
            rankings.append([chunk for chunk, _ in found])
        return fuse(rankings)[: max(SCORED, wanted)]

    def _allowed(self) -> NDArray[np.bool_] | None:
        """Which chunks are searched; None where all are."""
        import numpy as np

        request = self._request
        if request.paths is None and request.metadata is None:
            return None
        fits = None
        if request.paths is not None:
            from cactus.documents.ignore import compile_patterns

            fits = compile_patterns(request.paths).match_file
        files = [
            number
            for number, name, metadata in self._db.execute("SELECT id, name, metadata FROM files")
            if (fits is None or fits(name))
            and (not request.metadata or matches(read_metadata(metadata), request.metadata))
        ]
        return np.isin(self._view.files(), files)

    def _scored(self, chunks: Sequence[int]) -> Iterator[Hit]:
        """The chunks with their scores, in the given order; read as they are asked for."""
        import numpy as np

        files: dict[int, dict[str, str]] = {}
        for first in range(0, len(chunks), SCORED):
            some = chunks[first : first + SCORED]
            marks = ",".join("?" * len(some))
            rows = {
                row[0]: row for row in self._db.execute(f"{HITS} WHERE c.id IN ({marks})", some)
            }
            texts = [whole_text(*rows[chunk][-3:]) for chunk in some]
            shares = self._lexical.coverage(self._terms, texts)
            cosines: Sequence[float | None] = [None] * len(some)
            if self._cosines is not None:
                cosines = self._cosines[np.searchsorted(self._view.ids(), some)].tolist()
            for chunk, share, cosine in zip(some, shares, cosines, strict=True):
                words = None
                if self._request.mode != "dense":
                    words = share * self._ranks.get(chunk, 0.0)
                score = self._calibration.score(cosine, words)
                yield read_hit(rows[chunk], files, score, cosine, share)

    def _reranked(self, hits: list[Hit]) -> list[Hit]:
        """The hits in the order of a reranker, with its scores."""
        assert self._request.rerank is not None
        texts = [whole_text(hit.heading, "", hit.text) for hit in hits]
        ranked = self._request.rerank(self._request.query, texts) if texts else []
        order = sorted(ranked, key=lambda item: (-item.score, item.index))
        return [replace(hits[item.index], score=float(item.score)) for item in order]

    def _with_neighbours(self, hit: Hit, shown: set[int]) -> Hit:
        """A hit joined with the chunks around it that are not shown yet."""
        shown.add(hit.chunk_id)
        if not self._request.neighbours:
            return hit
        reach = self._request.neighbours
        # The chunks of a file have numbers in a row.
        near = {
            row[0]: row[1:]
            for row in self._db.execute(
                "SELECT id, start, stop, text, tokens, page, line, begins, ends FROM chunks WHERE"
                " file = (SELECT file FROM chunks WHERE id = ?1) AND id BETWEEN ?1 - ?2 AND"
                " ?1 + ?2",
                (hit.chunk_id, reach),
            )
        }
        first = last = hit.chunk_id
        while first - 1 in near and first - 1 not in shown:
            first -= 1
        while last + 1 in near and last + 1 not in shown:
            last += 1
        numbers = range(first, last + 1)
        shown.update(numbers)
        start, end, text = joined([near[number][:3] for number in numbers])
        _, _, _, _, page, line, begins, _ = near[first]
        time = None if begins is None else (begins, near[last][7])
        return replace(
            *(hit,),
            text=text,
            start=start,
            end=end,
            page=page,
            line=line,
            time=time,
            tokens=sum(near[number][3] for number in numbers),
        )
