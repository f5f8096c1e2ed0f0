"""Opening a weights folder: what it gives, and the damage it notices."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import ModelFormatError, ModelNotFound
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors
from tests.weights.forge import tiny_llama


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder converted from the tiny llama."""
    (tmp_path / "model.gguf").write_bytes(tiny_llama().build())
    convert(tmp_path / "model.gguf", tmp_path / "out")
    return tmp_path / "out"


def refuse(folder: Path, match: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ModelFormatError, match=match) as caught:
        WeightsFolder.open(folder)
    assert str(folder) in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before


def change_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the header of model.safetensors; the data moves to the next multiple of 64."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def change_description(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    def inner(header: dict[str, Any]) -> None:
        own = json.loads(header["__metadata__"]["cactus"])
        change(own)
        header["__metadata__"]["cactus"] = json.dumps(own)

    change_header(folder, inner)


NORM, MATRIX = "model.norm.weight", "model.layers.0.mlp.up_proj.weight"


def test_what_it_gives(made: Path) -> None:
    with WeightsFolder.open(str(made)) as folder:
        assert folder.path == made
        assert folder.config["model_type"] == "llama"
        assert folder.chat_template == "{{ messages[0]['content'] }}"
        assert folder.tokenizer_path.is_file()
        assert folder.nbytes == folder.data_path.stat().st_size
        matrix, norm = folder.tensors[MATRIX], folder.tensors[NORM]
        assert (matrix.dtype, matrix.rows, matrix.cols, matrix.layout) == ("q4", 64, 32, "tile")
        assert (norm.dtype, norm.rows, norm.cols, norm.layout) == ("f32", 1, 32, "plain")
        assert folder.dequantize(MATRIX).shape == (64, 32)
        assert folder.dequantize(NORM).shape == (32,)
        with pytest.raises(KeyError):
            folder.dequantize("absent")


def test_every_tensor_is_aligned_and_in_the_file(made: Path) -> None:
    with WeightsFolder.open(made) as folder:
        spans = sorted((t.offset, t.offset + t.nbytes) for t in folder.tensors.values())
        assert all(start % 64 == 0 for start, _ in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert spans[-1][1] <= folder.nbytes
        assert not any(name.startswith("cactus.") for name in folder.tensors)


def test_a_changed_header_alone_does_no_harm(made: Path) -> None:
    change_header(made, lambda header: None)
    WeightsFolder.open(made).close()


def test_missing_files(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such folder"):
        WeightsFolder.open(tmp_path / "absent")
    with pytest.raises(ModelNotFound, match="no such folder"):
        WeightsFolder.open(made / "config.json")
    (made / "chat_template.jinja").unlink()
    with WeightsFolder.open(made) as folder:
        assert folder.chat_template is None
    (made / "model.safetensors").rename(made / "other")
    with pytest.raises(ModelNotFound, match=r"model\.safetensors: no such file"):
        WeightsFolder.open(made)
    (made / "config.json").unlink()
    refuse(made, r"no config\.json")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.pop("cactus"), "run `cactus convert"),
        (lambda c: c.update(cactus=5), "run `cactus convert"),
        (
            lambda c: c["cactus"].update(format=2),
            "weights format 2 was written by a newer version",
        ),
        (lambda c: c["cactus"].pop("format"), "weights format None"),
        (lambda c: c.pop("model_type"), "model_type is missing"),
    ],
)
def test_config(made: Path, change: Callable[[dict[str, Any]], object], match: str) -> None:
    config = json.loads((made / "config.json").read_text())
    change(config)
    (made / "config.json").write_text(json.dumps(config))
    refuse(made, match)


def test_template_that_is_no_text(made: Path) -> None:
    (made / "chat_template.jinja").write_bytes(b"\xff")
    refuse(made, "not UTF-8")
    (made / "chat_template.jinja").write_bytes(b" " * ((1 << 20) + 1))
    refuse(made, "expected at most 1048576")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d["tensors"][MATRIX].update(dtype="q8"), r"needs U8 \[2176\], got U8"),
        (lambda d: d["tensors"][MATRIX].update(dtype="q5"), "unknown tile dtype 'q5'"),
        (lambda d: d["tensors"][MATRIX].update(dtype=None), "unknown tile dtype"),
        (lambda d: d["tensors"][MATRIX].update(shape=[64, 64]), r"q4 \[64, 64\] needs"),
        (lambda d: d["tensors"][MATRIX].update(shape=[80, 32]), r"q4 \[80, 32\] needs"),
        (lambda d: d["tensors"][MATRIX].update(shape=[64, 33]), "multiples of 32"),
        (lambda d: d["tensors"][MATRIX].update(dtype="q4_64"), "multiples of 64, got 32"),
        (lambda d: d["tensors"][MATRIX].update(dtype="q8_64"), "multiples of 64, got 32"),
        (
            lambda d: d["tensors"][MATRIX].update(dtype="q4_64", shape=[32, 64]),
            r"q4_64 \[32, 64\] needs U8 \[1152\], got U8 \[1280\]",
        ),
        (lambda d: d["tensors"][MATRIX].update(shape=[64]), "expected dtype and shape"),
        (lambda d: d["tensors"][MATRIX].update(shape=[0, 32]), "expected dtype and shape"),
        (lambda d: d["tensors"][MATRIX].update(shape=[-64, -32]), "expected dtype and shape"),
        (lambda d: d["tensors"][MATRIX].update(shape=[2**62, 32]), "expected dtype and shape"),
        (lambda d: d["tensors"][MATRIX].update(shape=[64.0, 32]), "expected dtype and shape"),
        (lambda d: d["tensors"][MATRIX].update(shape=None), "expected dtype and shape"),
        (lambda d: d["tensors"].update({MATRIX: 5}), "expected dtype and shape"),
        (lambda d: d["tensors"].pop(MATRIX), "has no description, expected F32"),
        (lambda d: d["tensors"].update(ghost={}), "'ghost' is described but missing"),
        (lambda d: d.update(tensors=[]), "expected the tensors"),
        (lambda d: d.update(format=2), "weights format 2 was written by a newer version"),
    ],
)
def test_description_of_the_tensors(
    made: Path, change: Callable[[dict[str, Any]], object], match: str
) -> None:
    change_description(made, change)
    refuse(made, match)


def test_plain_tensors_are_f32(made: Path) -> None:
    change_header(made, lambda h: h[NORM].update(dtype="I32"))
    refuse(made, "I32 .* has no description, expected F32")


def test_a_file_that_is_not_packed(made: Path) -> None:
    change_header(made, lambda h: h["__metadata__"].pop("cactus"))
    refuse(made, "this file is not packed")
    change_header(made, lambda h: h["__metadata__"].update(cactus="{"))
    refuse(made, "not valid JSON")


@pytest.mark.fault("F07")
def test_misaligned_tensors(made: Path) -> None:
    path = made / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    path.write_bytes(
        (size + 1).to_bytes(8, "little") + data[8 : 8 + size] + b" " + data[8 + size :]
    )
    refuse(made, "is not 64-aligned")


@pytest.mark.fault("F11")
@pytest.mark.parametrize("sixteenth", range(16))
def test_truncated_weights_are_refused(made: Path, sixteenth: int) -> None:
    path = made / "model.safetensors"
    os.truncate(path, path.stat().st_size * sixteenth // 16)
    refuse(made, "bytes|header")


@pytest.mark.fault("F21")
def test_weights_replaced_while_open_stay_as_they_were(made: Path) -> None:
    """Who has the folder open keeps reading the old bytes when the file is renamed over."""
    folder = WeightsFolder.open(made)
    before = folder.dequantize(MATRIX)
    other = made / "other"
    other.write_bytes(bytes(100))
    other.replace(made / "model.safetensors")
    assert np.array_equal(folder.dequantize(MATRIX), before)
    folder.close()
    folder.close()


def test_the_metadata_can_be_read_by_any_reader(made: Path) -> None:
    """No hole and no unknown dtype: fillers are ordinary tensors."""
    file = read_safetensors(made / "model.safetensors")
    assert file.metadata["format"] == "pt"
    assert json.loads(file.metadata["cactus"])["tensors"][MATRIX] == {
        "dtype": "q4",
        "shape": [64, 32],
    }
    file.close()
