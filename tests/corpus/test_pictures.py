"""A folder of pictures with a dual encoder: indexed and searched by words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cactus import Corpus, Model
from cactus.cli.main import run_cli
from cactus.embed.embedder import ModelEmbedder
from cactus.errors import InvalidRequest
from cactus.vision.embedder import DualEmbedder, load_embedder
from cactus.weights.convert import convert
from cactus.weights.embedders import find_embedder
from tests.models import vision


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, and a tokenizer."""
    home = tmp_path_factory.mktemp("clip")
    convert(vision.write("clip", home / "clip"), home / "weights" / "tiny-clip", "FP16")
    return home / "weights" / "tiny-clip"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (30 + number, 20), colour).save(folder / f"{colour}.png")
    (folder / "notes.txt").write_text("A walrus eats clams.")
    return folder


def test_vectors_of_an_index_are_those_of_the_model(
    clip: Path, photos: Path, tmp_path: Path
) -> None:
    with Corpus(photos, embedder=clip, cache_dir=tmp_path / "cache") as corpus:
        assert (corpus.files, corpus.chunks) == (4, 4)
        hits = corpus.search("a red car", 4, mode="dense", floor=False)
    with Model(clip) as model:
        query = model.embed("a red car", normalize=True)
        files = [photos / hit.source for hit in hits]
        cosines = model.embed_image(files, normalize=True) @ query
    assert sorted(hit.source for hit in hits) == ["blue.png", "green.png", "red.png", "white.png"]
    np.testing.assert_allclose([hit.dense for hit in hits], cosines, atol=2e-3)
    assert list(cosines) == sorted(cosines, reverse=True)


def test_an_index_of_pictures_is_not_asked(
    clip: Path, photos: Path, tmp_path: Path, tiny_model: Path
) -> None:
    with (
        Model(tiny_model) as model,
        Corpus(photos, embedder=clip, cache_dir=tmp_path / "cache") as corpus,
        pytest.raises(InvalidRequest, match="can be searched, not asked"),
    ):
        corpus.ask(model, "Which is red?")


def test_only_a_dual_encoder_that_is_named_is_an_embedder_of_images(
    clip: Path, tiny_vlm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(clip.parent))
    assert find_embedder() is None  # texts alone would fare badly with it
    assert find_embedder("tiny-clip") == clip
    for folder, kind in ((clip, DualEmbedder), (tiny_vlm, ModelEmbedder)):
        with load_embedder(folder) as embedder:
            assert type(embedder) is kind


def test_pictures_on_the_command_line(
    clip: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert run_cli(["index", "photos", "--embedder", str(clip), "-q", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["files"], report["embedded"]) == (4, 4)
    assert report["skipped"] == {"unsupported": 1}
    assert run_cli(["search", "photos", "blue", "-q", "--mode", "lexical"]) == 0
    score, where, width, _, height = capsys.readouterr().out.split()
    assert (where, width, height) == ("photos/blue.png", "32", "20") and float(score) > 0.1
    assert run_cli(["embed", "--image", "--model", str(clip), "photos/red.png", "-q"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["file"] == "photos/red.png" and len(row["embedding"]) > 8
