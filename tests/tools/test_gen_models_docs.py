"""docs/models.md: complete, and its computed sizes are those of real conversions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cactus.models.base import load_architecture
from cactus.weights.catalog import CATALOG
from cactus.weights.convert import convert


def test_computed_sizes_are_those_of_a_conversion(tool: Any, tmp_path: Path) -> None:
    docs, models = tool("gen_models_docs"), tool("published_models")
    for name in ("lfm2-350m", "smollm2-135m", "qwen3-0.6b"):
        config = models.tiny(models.find(name).config)
        tool("make_random_checkpoint").write(config, tmp_path / name)
        found = docs.sizes_of(load_architecture(config))
        for precision in docs.PRECISIONS:
            report = convert(tmp_path / name, tmp_path / f"{name}-{precision}", precision)
            assert found.weights[precision] == sum(tensor.nbytes for tensor in report.tensors)
    # Published: 6 layers with 8 heads of 64, keys and values, in a byte, with a scale a head.
    large = docs.sizes_of(load_architecture(models.find("lfm2-1.2b").config))
    assert large.position == 6 * 8 * (64 + 4) * 2


def test_every_model_of_the_catalog_is_there(tool: Any) -> None:
    models = (*tool("published_models").PUBLISHED, *tool("published_vision").VISION)
    ids = {id for model in models for id in (model.hub_id, *model.others)}
    assert {each.hub_id for each in CATALOG if "chat" in each.abilities} <= ids
