"""An index that was made without an embedder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cactus.errors import InvalidRequest
from cactus.retrieval.index import Index
from cactus.retrieval.words_only import WordsOnly
from tests.retrieval.made import WordEmbedder


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    text = " ".join(f"In sentence {n} stands a word{n} of its own." for n in range(200))
    (folder / "long.txt").write_text(text)
    (folder / "plums.txt").write_text("Plums are purple.")
    return folder


def open_words(docs: Path) -> Index:
    return Index.open(docs, WordsOnly(), docs.parent / "cache")


def test_it_is_searched_by_words_alone(docs: Path) -> None:
    with open_words(docs) as index:
        assert index.made_with is None
        report = index.sync()
        assert index.made_with == "words alone"
        assert (report.added, report.chunks) == (2, index.chunks) and report.chunks > 5
        (plums,) = index.search("purple plums", mode="lexical")
        assert plums.source == "plums.txt" and plums.dense is None
        assert "word150" in index.search("word150", 1, mode="lexical")[0].text
        for mode in ("hybrid", "dense"):
            with pytest.raises(InvalidRequest, match=r"mode must be 'lexical', got .* no vectors"):
                index.search("plums", mode=mode)  # type: ignore[arg-type]
        assert index.sync().unchanged == 2


def test_it_finds_the_words_of_an_index_with_vectors(docs: Path) -> None:
    with Index.open(docs, WordEmbedder(), docs.parent / "cache") as index:
        index.sync()
        found = index.search("purple plums", mode="lexical")
    with open_words(docs) as index:
        assert index.search("purple plums", mode="lexical") == found
