"""An embedder of the hub comes with the folders of its modules, in 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus.errors import UnsupportedModel
from cactus.model import Model
from cactus.weights import locate
from cactus.weights.abilities import abilities_of
from cactus.weights.download import download_model
from tests.models import encoders

HUB_ID = "acme/Embeddinggemma-Tiny"


@pytest.fixture
def published(tmp_path: Path) -> dict[str, bytes]:
    folder = encoders.write("embeddinggemma", tmp_path / "published")
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return found | {"onnx/model.onnx": b"", "4_Other/model.safetensors": b"not asked for"}


def test_an_embedder_comes_with_its_modules(server, root: Path, tmp_path, published) -> None:
    server.add(HUB_ID, published)
    folder = download_model(HUB_ID)
    golden = encoders.load("embeddinggemma", tmp_path / "published")
    assert golden.embedding is not None
    with Model(folder) as model:
        vector = model.embed(encoders.words(golden.tokens))
        prompted = model.embed("w7", prompt="query")
    assert vector @ golden.embedding > 0.99
    assert not np.allclose(prompted, vector)
    config = locate.read_config(folder)
    assert abilities_of(config) == ("embed",) and not (folder / "dense").exists()
    asked = [path for _, path, _ in server.requests if "/resolve/" in path]
    assert sum(path.endswith("2_Dense/model.safetensors") for path in asked)
    assert not any("4_Other" in path or "onnx" in path for path in asked)
    # From the cache alone.
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert download_model(HUB_ID, offline=True) == folder


def test_an_encoder_is_stored_in_16_bits(server, tmp_path: Path) -> None:
    folder = encoders.write("nomic_bert", tmp_path / "published")
    server.add("acme/tiny", {path.name: path.read_bytes() for path in folder.iterdir()})
    assert locate.describe(download_model("acme/tiny"))["precision"] == "FP16"


def test_what_only_embeds_is_not_fetched_to_chat(server, published) -> None:
    server.add(HUB_ID, published)
    folder = download_model(HUB_ID)
    from cactus.weights.download import find_or_download

    with pytest.raises(UnsupportedModel, match=r"cannot chat: it can embed text \(cactus embed,"):
        find_or_download(str(folder), ability="chat")
