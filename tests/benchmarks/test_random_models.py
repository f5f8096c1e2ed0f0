"""Random models are whole models: they convert, load, compute and tokenise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.engine import load_engine
from cactus.native import Row
from cactus.weights.convert import convert
from cactus.weights.folder import WeightsFolder


@pytest.mark.parametrize("name", ["lfm2-350m", "qwen3-0.6b"])
def test_a_random_model_runs(load: Any, tmp_path: Path, name: str) -> None:
    models = load("random_models")
    models.write(models.tiny(models.SHAPES[name]), tmp_path / "model.gguf")
    report = convert(tmp_path / "model.gguf", tmp_path / "model", "INT4")
    types = {tensor.name: tensor.dtype for tensor in report.tensors if len(tensor.shape) == 2}
    assert types.pop("model.embed_tokens.weight") == "q4_0"
    assert types["model.layers.1.self_attn.q_proj.weight"] == "q4_64"
    with WeightsFolder.open(tmp_path / "model") as folder:
        matrix = folder.dequantize("model.embed_tokens.weight")
        assert matrix.std() == pytest.approx(64**-0.5, rel=0.05)
        assert abs(matrix.mean()) < 0.05 * matrix.std()
    engine = load_engine(tmp_path / "model", threads=1, isa=None, context=None)
    ids = engine.tokenizer.encode("the cat")
    (output,) = engine.program.step([Row(engine.program.session(), ids)], want_logits=True)
    assert np.isfinite(output.logits).all()
    assert 0.3 < output.logits.std() < 3


@pytest.mark.parametrize(
    ("name", "matrices"),
    # What is published for both: 354 M and 596 M, all but the norms.
    [("lfm2-350m", 354_000_000), ("qwen3-0.6b", 596_000_000)],
)
def test_the_full_sizes_are_the_published_ones(load: Any, name: str, matrices: int) -> None:
    models = load("random_models")
    sizes = [int(np.prod(size)) for _, size in models.tensors_of(models.SHAPES[name])]
    assert sum(sizes) == pytest.approx(matrices, rel=0.002)
