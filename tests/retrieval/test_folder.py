"""The index of a real folder: its files are read, cut into chunks, found and cited."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cactus.errors import CorpusError
from cactus.retrieval.folder import Folder
from cactus.retrieval.index import Index
from tests.retrieval.made import WordEmbedder

GUIDE = """\
# Guide

## Watering

Ferns want water every day. In winter they want less of it.

## Light

Cacti want sun from morning to evening.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "garden"
    (folder / "old").mkdir(parents=True)
    (folder / "guide.md").write_text(GUIDE)
    (folder / "old" / "soil.txt").write_text("Clay holds water for long. " * 200)
    (folder / ".hidden.txt").write_text("A secret of the ferns.")
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return folder


def test_files_are_read_cut_and_found_with_their_places(folder: Path, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    with Index.open(folder, embedder, tmp_path / "cache") as index:
        report = index.sync()
        assert (report.added, report.failed) == (2, 0)
        assert set(report.skipped.counts) == {"hidden", "unsupported"}
        best = index.search("water every day for ferns", 1)[0]
        assert (best.source, best.heading, best.line) == ("guide.md", "Guide > Watering", 1)
        assert GUIDE[best.start : best.end] == best.text
        assert best.metadata["kind"] == "markdown"
        assert "Guide > Watering\n" in next(t for t in embedder.texts if "Ferns" in t)
        assert [hit.source for hit in index.search("water", 9, paths="old/")] != []
        assert index.search("water", 9, metadata={"kind": "pdf"}) == []
        assert {hit.tokens <= 220 for hit in index.all()} == {True}


def test_patterns_say_what_is_read(folder: Path, tmp_path: Path) -> None:
    with Index.open(folder, WordEmbedder(), tmp_path / "cache", exclude=["old/"]) as index:
        assert index.sync().added == 1
    with Index.open(folder, WordEmbedder(), tmp_path / "cache", hidden=True) as index:
        assert (index.sync().added, index.files) == (2, 3)


def test_chunks_fit_an_embedder_that_sees_little(folder: Path, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    embedder.max_tokens = 64
    with Index.open(folder, embedder, tmp_path / "cache") as index:
        index.sync()
        assert 40 < max(hit.tokens for hit in index.all()) <= 64
    assert Folder(folder, embedder).version != Folder(folder, WordEmbedder()).version


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        Index.open(tmp_path / "none", WordEmbedder(), tmp_path / "cache")


def test_a_document_whose_reader_could_not_run_is_read_the_next_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "page.html").write_text("<p>Moss grows in the shade.")
    with Index.open(folder, WordEmbedder(), tmp_path / "cache") as index:
        with monkeypatch.context() as patched:
            patched.setattr("cactus.documents.process.start_child", _refuse)
            report = index.sync()
        assert (report.added, report.failed, index.files) == (2, 0, 2)
        (skipped,) = report.skipped.examples["unreadable"]
        assert str(skipped).startswith("page.html: unreadable (no process to read it in: ")
        assert (index.sync().added, index.files) == (1, 3)


def _refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
