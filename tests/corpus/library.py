"""Documents in memory, found by the words that they share with a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cactus.corpus.overlap import terms
from cactus.retrieval.types import Hit


def chunk(source: str, text: str, *, start: int = 0, **places: object) -> Hit:
    """A chunk that ends where its text does."""
    return Hit(0.0, text, source, start, start + len(text), **places)  # type: ignore[arg-type]


class Shelf:
    """A library of chunks; what it was asked is kept in `queries`. A token is four characters."""

    def __init__(self, chunks: Sequence[Hit], tokens: int | None = None) -> None:
        self._chunks = list(chunks)
        self._tokens = tokens
        self.queries: list[str] = []

    @property
    def chunks(self) -> int:
        return len(self._chunks)

    @property
    def tokens(self) -> int:
        return self._tokens or sum(len(chunk.text) // 4 for chunk in self._chunks)

    def all(self) -> list[Hit]:
        return self._chunks

    def document(self, source: str, tokens: int) -> list[Hit]:
        chunks = [chunk for chunk in self._chunks if chunk.source == source]
        return chunks if sum(len(chunk.text) // 4 for chunk in chunks) <= tokens else []

    def search(self, query: str, top_k: int) -> list[Hit]:
        self.queries.append(query)
        wanted = terms(query)
        scored = [
            replace(chunk, score=len(wanted & terms(chunk.text)) / max(1, len(wanted)))
            for chunk in self._chunks
        ]
        found = [chunk for chunk in scored if chunk.score > 0]
        return sorted(found, key=lambda chunk: -chunk.score)[:top_k]


FAR = 1_000_000
"""Tokens of documents that are too long to be given whole."""
