"""Random models are whole models: they convert without loss, load, compute and tokenise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.engine import loading
from cactus.native import Row
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder


def test_every_family_runs(load: Any, tmp_path: Path) -> None:
    maker = load("random_models")
    models = load("published_models")  # the maker has put tools/ on the path
    kinds = {model.config["model_type"]: model for model in models.PUBLISHED}
    for kind in maker.FAMILIES:
        path, folder = tmp_path / f"{kind}.gguf", tmp_path / kind
        maker.write(models.tiny(kinds[kind].config), path)
        report = convert(path, folder)
        assert {t.dtype for t in report.tensors} == {"q4_0", "f32"}
        with WeightsFolder.open(folder) as opened:
            matrix = opened.dequantize("model.embed_tokens.weight")
        assert matrix.std() == pytest.approx(64**-0.5, rel=0.05)
        assert abs(matrix.mean()) < 0.05 * matrix.std()
        engine = loading.load(folder, threads=1, isa=None, context=None)
        ids = engine.tokenizer.encode("the cat")
        (output,) = engine.program.step([Row(engine.program.session(), ids)], want_logits=True)
        assert np.isfinite(output.logits).all(), kind
        assert 0.3 < output.logits.std() < 3, kind


def test_a_checkpoint_for_peers_has_the_same_numbers(load: Any, tmp_path: Path) -> None:
    maker, models = load("random_models"), load("published_models")
    config = models.tiny(models.find("lfm2-350m").config)  # with kernels of three dimensions
    ours, theirs, again = (tmp_path / name for name in ("ours", "theirs", "again"))
    maker.write(config, tmp_path / "model.gguf")
    convert(tmp_path / "model.gguf", ours)
    load("checkpoint").write(ours, theirs)
    convert(theirs, again, "FP16")
    with WeightsFolder.open(ours) as before, WeightsFolder.open(again) as after:
        assert set(before.tensors) == set(after.tensors)
        for name in before.tensors:
            values = before.dequantize(name)
            np.testing.assert_allclose(after.dequantize(name), values, rtol=1e-3, atol=1e-7)
