"""The index of a folder of pictures, which words find."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cactus.errors import CorpusError
from cactus.images.picture import Picture
from cactus.retrieval.index import Index
from cactus.retrieval.score import Calibration
from tests.retrieval.made import WordEmbedder

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}


class ColourEmbedder(WordEmbedder):
    """A picture's vector is that of the name of its colour, and much that all pictures have."""

    def __init__(self) -> None:
        super().__init__("colours", 2048)
        self.steps: list[int] = []
        """How many pictures were embedded at a time."""

    def embed_images(self, images: Sequence[Picture], *, stop: Any = None) -> np.ndarray:
        self.steps.append(len(images))
        names = {value: name for name, value in COLOURS.items()}
        seen = self.embed([names[tuple(each.pixels[0, 0].tolist())] for each in images], "query")
        vectors = 0.3 * seen + self.embed(["picture"], "query")
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures in four colours, a text, and files that only seem to be pictures."""
    folder = tmp_path / "photos"
    (folder / "last summer").mkdir(parents=True)
    for number in range(12):
        name = list(COLOURS)[number % 4]
        where = folder / "last summer" if number > 5 else folder
        Image.new("RGB", (8 + number, 8), COLOURS[name]).save(where / f"IMG_{number}.png")
    (folder / "notes.txt").write_text("A red apple.")
    (folder / "broken.png").write_bytes((folder / "IMG_0.png").read_bytes()[:45])
    (folder / "drawing.webp").write_text("<svg></svg>")
    return folder


@pytest.fixture
def embedder() -> ColourEmbedder:
    return ColourEmbedder()


@pytest.fixture
def index(folder: Path, embedder: ColourEmbedder, tmp_path: Path) -> Iterator[Index]:
    with Index.open(folder, embedder, tmp_path / "cache") as made:
        yield made


def test_words_find_pictures_by_what_is_on_them(index: Index) -> None:
    report = index.sync()
    assert (report.added, report.chunks, report.embedded) == (12, 12, 12)
    hits = index.search("a red car", 3, mode="dense")
    assert {hit.source for hit in hits} == {"IMG_0.png", "IMG_4.png", "last summer/IMG_8.png"}
    assert hits[0].metadata == {"kind": "picture", "width": "8", "height": "8"}
    assert all(hit.score > 0.3 for hit in hits)
    green = index.search("green", 12, mode="dense")
    assert len(green) == 3  # the others are no better than for other words
    assert len(index.search("green", 12, mode="dense", floor=False)) == 12


def test_words_of_the_path_find_pictures_too(index: Index) -> None:
    index.sync()
    hits = index.search("summer", 12, mode="lexical")
    assert {hit.source for hit in hits} == {f"last summer/IMG_{n}.png" for n in range(6, 12)}
    assert hits[0].text.startswith("last summer IMG ")


def test_what_is_no_picture_is_counted_with_the_reason(index: Index) -> None:
    skipped = index.sync().skipped
    assert skipped.counts == {"unsupported": 2, "damaged": 1}
    told = " ".join(map(str, skipped.examples["unsupported"]))
    assert "notes.txt: unsupported (not a picture; the embedder words colours" in told
    assert "drawing.webp: unsupported (it is an SVG" in told


def test_only_what_changed_is_embedded_again(
    index: Index, embedder: ColourEmbedder, folder: Path
) -> None:
    index.sync()
    embedder.steps.clear()
    (folder / "IMG_0.png").rename(folder / "red sofa.png")  # the same picture
    assert index.sync().embedded == 0
    assert index.search("sofa", 1, mode="lexical")[0].source == "red sofa.png"
    Image.new("RGB", (8, 8), COLOURS["blue"]).save(folder / "red sofa.png")
    assert index.sync().embedded == 1 and embedder.steps == [1]
    (hit,) = index.search("blue", 1, mode="dense", paths="red sofa.png")
    assert hit.score > 0.3


def test_pictures_are_embedded_a_few_at_a_time(
    index: Index, embedder: ColourEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cactus.retrieval.writer.PICTURES", 5)
    index.sync()
    assert embedder.steps == [5, 5, 2]
    monkeypatch.setattr("cactus.retrieval.writer.PIXELS", 200)
    embedder.steps.clear()
    with sqlite3.connect(index.path) as db:
        db.execute("UPDATE meta SET value = 'another' WHERE key = 'fingerprint'")
    assert index.sync().rebuilt and embedder.steps == [3, 3, 2, 2, 2]


def test_scores_are_measured_with_captions(index: Index) -> None:
    index.sync()
    with sqlite3.connect(index.path) as db:
        (text,) = db.execute("SELECT value FROM meta WHERE key = 'calibration'").fetchone()
    found = Calibration.from_json(text)
    assert json.loads(text)["chunks"] == 12
    assert abs(found.unrelated) < 0.05 < found.related - found.unrelated < 0.2


def test_an_embedder_of_texts_leaves_pictures_out_as_before(folder: Path, tmp_path: Path) -> None:
    with Index.open(folder, WordEmbedder(), tmp_path / "cache") as index:
        report = index.sync()
        assert report.added == 1 and report.skipped.counts == {"unsupported": 14}
        assert index.search("apple")[0].source == "notes.txt"
    with Index.open(folder, ColourEmbedder(), tmp_path / "cache") as index:
        with pytest.raises(CorpusError, match="was made with the embedder"):
            index.search("red")
        assert index.sync().rebuilt and index.chunks == 12
