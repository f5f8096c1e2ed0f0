"""Dual encoders against transformers on tiny random checkpoints: texts and images of one space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cactus import Model
from cactus.errors import ContextLengthExceeded, UnsupportedModel
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row
from cactus.models.base import Architecture, load_architecture
from cactus.models.vision import vision_config
from cactus.vision.heads import Head
from cactus.vision.tables import read_tables
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from tests.models import vision
from tests.models.golden import FOLDER, fused
from tests.tolerances import assert_close

NAMES = ("clip", "siglip", "siglip2")
names = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("dual")
    for name in NAMES:
        convert(vision.write(name, home / name), home / f"{name}-weights", "FP32")
    return {name: home / f"{name}-weights" for name in NAMES}


def arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / name / "golden.npz") as found:
        return dict(found)


def opened(folder: Path) -> tuple[Architecture, dict[str, NDArray[np.float32]]]:
    with WeightsFolder.open(folder) as weights:
        tensors = {each: weights.dequantize(each) for each in weights.tensors}
        return load_architecture(weights.config), tensors


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


@names
def test_states_and_vectors_in_numpy(name: str, folders: dict[str, Path]) -> None:
    golden, folder = arrays(name), folders[name]
    architecture, tensors = opened(folder)
    config = vision_config(architecture_config(folder))
    assert config is not None
    rows = patches(name, folder, golden["image"])
    tower = ReferenceProgram(fused(architecture.build_tower(), "f32"), tensors, vocab_size=0)
    row = Row(tower.session(), (), "all", features=rows)
    states = np.stack([output.logits for output in tower.step([row], want_logits=True)])
    assert_close(states, golden["states"], "f32", f"{name}: states")
    head = Head.of(config, read_tables(folder, config))
    assert head is not None
    assert_close(unit(head(states)), golden["image_vector"], "f32", f"{name}: image")
    program = ReferenceProgram(fused(architecture.build(), "f32"), tensors, vocab_size=0)
    ids = golden["input_ids"].tolist()
    (output,) = program.step([Row(program.session(), ids, "last")], want_logits=True)
    heads = vision.read_plain(folder / "heads.safetensors")
    text = heads["dense.0.weight"] @ output.logits + heads.get("dense.0.bias", 0)
    assert_close(unit(text), golden["text_vector"], "f32", f"{name}: text")


def architecture_config(folder: Path) -> dict[str, Any]:
    with WeightsFolder.open(folder) as weights:
        return weights.config


def patches(name: str, folder: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the tower takes: of CLIP a row for the whole image first."""
    config = vision_config(architecture_config(folder))
    assert config is not None and config.positions is not None
    size, tables = config.patch_size, vision.read_tables(folder)
    rows, cols = image.shape[0] // size, image.shape[1] // size
    pixels = (image.astype(np.float32) / 255 - 0.5) / 0.5
    cut = pixels.reshape(rows, size, cols, size, 3).swapaxes(1, 2).reshape(rows * cols, -1)
    table = tables["position_embedding"]
    if (rows, cols) != config.positions:
        from cactus.vision.positions import PositionTable

        grid = table.reshape(*config.positions, -1)
        table = PositionTable(grid).at(rows, cols)
    made = np.zeros((len(cut), config.patch_width + config.hidden_size), np.float32)
    made[:, : cut.shape[1]] = cut
    made[:, config.patch_width :] = table
    if not config.class_token:
        return made
    first = np.zeros((1, made.shape[1]), np.float32)
    first[:, config.patch_width :] = tables["class_embedding"]
    return np.concatenate([first, made])


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Iterator[Model]:
    with Model(folders[request.param], threads=1) as opened:
        yield opened


def test_a_text_has_the_vector_of_transformers(model: Model) -> None:
    golden = arrays(model.name.removesuffix("-weights"))
    ids = golden["input_ids"].tolist()
    vector = model.embed(ids, normalize=True)
    assert_close(vector, golden["text_vector"], "f16", model.name)
    if model.name.startswith("siglip"):  # which is filled up
        short = [id for id in ids if id != ids[-1]]
        assert np.array_equal(model.embed(short, normalize=True), vector)
    with pytest.raises(ContextLengthExceeded):
        model.embed([7] * 17)


def test_an_image_has_the_vector_of_transformers(model: Model) -> None:
    golden = arrays(model.name.removesuffix("-weights"))
    vector = model.embed_image(golden["image"], normalize=True)
    assert_close(vector, golden["image_vector"], "f16", model.name)
    text = model.embed(golden["input_ids"].tolist(), normalize=True)
    likeness = float(np.dot(golden["image_vector"], golden["text_vector"]))
    assert float(np.dot(vector, text)) == pytest.approx(likeness, abs=1e-3)
    longer = np.concatenate([golden["image"]] * 2)
    several = model.embed_image([golden["image"], longer])
    assert np.array_equal(several[0], model.embed_image(golden["image"]))


def test_what_can_see_nothing_in_a_chat_says_so(model: Model) -> None:
    with pytest.raises(UnsupportedModel, match="cannot chat: it can embed text and embed images"):
        model.chat("What is it?")
