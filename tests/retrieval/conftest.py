"""A folder of documents with an index over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cactus.retrieval.index import Index
from tests.retrieval.made import Paragraphs, WordEmbedder

FRUIT = """\
# Fruit

Apples grow on trees in the garden behind the house.

Bananas come by ship from far away and ripen in the harbour.

The call os.path.join puts the parts of a path together.
"""
SKY = """\
The moon moves around the earth in about four weeks.

東京都は日本の首都です。人口は千四百万人です。
"""


class Made:
    """A folder, and what its index is made with."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.embedder, self.source = WordEmbedder(), Paragraphs(folder)
        self.index = self.open()

    def open(self, embedder: WordEmbedder | None = None) -> Index:
        return Index(self.folder, self.source, embedder or self.embedder, self.cache)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    (tmp_path / "documents").mkdir()
    made = Made(tmp_path / "documents", tmp_path / "cache")
    made.write("fruit.md", FRUIT)
    made.write("sky/moon.txt", SKY)
    yield made
    made.index.close()
