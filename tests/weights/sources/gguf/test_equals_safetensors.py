"""A GGUF file and the safetensors checkpoint it was made from are the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.engine.loading import load
from cactus.graph.reference import ReferenceProgram
from cactus.models.base import load_architecture
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from tests.models import golden
from tests.native import programs
from tests.weights.converter import representable, write_gguf

names = pytest.mark.parametrize("name", golden.NAMES)


def both(tmp_path: Path, checkpoint: golden.Golden, kind: str) -> tuple[Path, Path, dict[str, Any]]:
    """The weights folders made of the GGUF file and of the checkpoint, and the file's values."""
    values = write_gguf(tmp_path / "model.gguf", checkpoint, kind)
    one = convert(tmp_path / "model.gguf", tmp_path / "one").target
    source = shutil.copytree(checkpoint.folder, tmp_path / "checkpoint")
    for file in one.glob("tokenizer*.json"):
        shutil.copy(file, source)
    other = convert(source, tmp_path / "other", "FP32" if kind == "F32" else "FP16").target
    return one, other, values


def logits(folder: Path, tokens: list[int]) -> Any:
    """All logits of the native core."""
    engine = load(folder, threads=2)
    try:
        row = engine.row(engine.program.session(), tokens, "all")
        return programs.logits_of(engine.program.step([row], want_logits=True))
    finally:
        engine.close()


@names
@pytest.mark.parametrize("kind", ["F16", "F32"])
def test_same_config_weights_and_logits(tmp_path: Path, name: str, kind: str) -> None:
    checkpoint = representable(golden.load(name), tmp_path / "golden")
    one, other, _ = both(tmp_path, checkpoint, kind)
    configs = [
        load_architecture(json.loads((folder / "config.json").read_text())).config
        for folder in (one, other)
    ]
    assert configs[0] == configs[1] == checkpoint.architecture.config
    with WeightsFolder.open(one) as first, WeightsFolder.open(other) as second:
        assert set(first.tensors) == set(second.tensors) == set(checkpoint.tensors)
        for tensor, value in checkpoint.tensors.items():
            assert first.tensors[tensor].dtype == second.tensors[tensor].dtype
            assert np.array_equal(first.dequantize(tensor), value), tensor
            assert np.array_equal(second.dequantize(tensor), value), tensor
    assert np.array_equal(logits(one, checkpoint.tokens), logits(other, checkpoint.tokens))


@names
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_0"])
def test_blocks_are_imported_without_loss_and_in_order(
    tmp_path: Path, name: str, kind: str
) -> None:
    """The reference's logits with what was stored are those with what the file stands for."""
    checkpoint = representable(golden.load(name), tmp_path / "golden")
    folder, _, values = both(tmp_path, checkpoint, kind)
    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        stored = {tensor: weights.dequantize(tensor) for tensor in weights.tensors}
        assert {tensor.dtype for tensor in weights.tensors.values()} > {"f32"}
    got, wanted = (
        golden.run_all(ReferenceProgram(architecture.build(), tensors), checkpoint.tokens)
        for tensors in (stored, values)
    )
    assert np.array_equal(got, wanted)


@names
@pytest.mark.parametrize("kind", ["F16", "Q4_0"])
def test_merged_queries_keys_and_values_are_taken_apart(
    tmp_path: Path, name: str, kind: str
) -> None:
    checkpoint = representable(golden.load(name), tmp_path / "golden")
    values = write_gguf(tmp_path / "model.gguf", checkpoint, kind, merged=True)
    report = convert(tmp_path / "model.gguf", tmp_path / "out")
    assert report.notes == ()
    with WeightsFolder.open(tmp_path / "out") as weights:
        assert set(weights.tensors) == set(values)
        for tensor, value in values.items():
            assert np.array_equal(weights.dequantize(tensor), value), tensor
