"""An embedder without a model: texts with the same words have the same vectors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cactus.corpus.overlap import terms


class WordEmbedder:
    """Counts words; `embedded` are the texts that it was given as documents."""

    name = "words"
    fingerprint = "0123456789abcdef"
    dimensions = 64
    max_tokens = 256

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(
        self, texts: Sequence[str], kind: str, progress: Any = None, stop: Any = None
    ) -> NDArray[np.float32]:
        if kind == "document":
            self.embedded += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term in terms(text):
                row[crc32(term.encode()) % self.dimensions] += 1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-9)

    def token_offsets(self, text: str) -> list[int]:
        return [match.start() for match in re.finditer(r"\w+|[^\w\s]", text)]
