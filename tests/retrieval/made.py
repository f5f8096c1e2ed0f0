"""An embedder and a source of documents for tests: small, exact, and they count what they do."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cactus.documents.types import Chunk, Skipped
from cactus.documents.walk import FileEntry, walk
from cactus.retrieval.types import Loaded, Read

_WORD = re.compile(r"\w+")


class WordEmbedder:
    """A text's vector is the sum of one random vector for each of its words."""

    def __init__(self, fingerprint: str = "words-1", dimensions: int = 48) -> None:
        self.name = f"words {fingerprint}"
        self.fingerprint, self.dimensions, self.max_tokens = fingerprint, dimensions, 256
        self.texts: list[str] = []
        """What was embedded as a document."""

    def embed(
        self, texts: Sequence[str], kind: str, progress: Any = None, stop: Any = None
    ) -> np.ndarray:
        if kind == "document":
            self.texts += texts
        sums = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(sums, texts, strict=True):
            for word in _WORD.findall(text.lower()):
                row += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(
                    self.dimensions, np.float32
                )
        sizes = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.divide(sums, sizes, out=sums, where=sizes > 0)

    def count_tokens(self, text: str) -> int:
        return len(self.token_offsets(text))

    def token_offsets(self, text: str) -> list[int]:
        return [match.start() for match in _WORD.finditer(text)]


class Paragraphs:
    """Each paragraph of a file is a chunk; a file that begins with "!" cannot be read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.version, self.abilities = "1", ""
        self.loaded: list[str] = []
        self.read_: list[str] = []

    def walk(self) -> Iterator[FileEntry | Skipped]:
        return walk(self._root)

    def load(self, entry: FileEntry) -> Loaded | Skipped:
        self.loaded.append(entry.name)
        try:
            data = Path(entry.path).read_bytes()
        except OSError as error:
            return Skipped(entry.name, "unreadable", error.strerror or "")
        return Loaded(hashlib.sha256(data).digest(), data)

    def read(self, entry: FileEntry, loaded: Loaded) -> Read | Skipped:
        self.read_.append(entry.name)
        assert loaded.data is not None
        text = loaded.data.decode()
        if text.startswith("!"):
            return Skipped(entry.name, "damaged", "it begins with an exclamation mark")
        return Read({"kind": "text", "title": entry.name}, self._chunks(text))

    def _chunks(self, text: str) -> Iterator[Chunk]:
        heading = ""
        for match in re.finditer(r"(?:.+\n?)+", text):
            piece = match[0].rstrip("\n")
            if piece.startswith("# "):
                heading = piece[2:]
            start = match.start()
            line = text.count("\n", 0, start) + 1
            yield Chunk(
                *(piece, start, start + len(piece), heading, "", None, line, None),
                len(_WORD.findall(piece)),
            )
