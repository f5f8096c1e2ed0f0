"""Pictures are prepared twice, by a tool and by the package, and become the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.images.picture import Picture
from cactus.vision.processors import Processor

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SIZES = (
    *((64, 64), (128, 128), (96, 192), (64, 256), (192, 96), (7, 300), (300, 7), (255, 257)),
    *((192, 416), (160, 512), (288, 288), (512, 160), (1000, 1100)),
)
"""Height and width; those in the last line are seen in tiles."""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    import tiny_vlm_data

    yield tiny_vlm_data
    sys.modules.pop("tiny_vlm_data")


@pytest.mark.parametrize("size", SIZES)
def test_tiles_and_text_are_those_of_the_processor(tool: Any, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)
    config = {
        "model_type": "lfm2_vl",
        "downsample_factor": 2,
        "image_token_id": 5,
        "vision_config": {"patch_size": 16},
    }
    processor = Processor.make(config, tool.PROCESSOR, {})
    layout = processor.layout(size[1], size[0])
    tiles, text = tool.tiles(pixels)
    assert text == layout.text
    for ours, theirs in zip(processor.tiles_of(Picture(pixels), layout), tiles, strict=True):
        assert ours.grid == theirs.grid
        # Pillow 13 may scale columns before rows: then some values are a level apart.
        apart = np.abs(ours.patches - theirs.patches) * 255 / 2
        assert apart.max() < 1.001
        assert np.mean(apart > 1e-3) < 0.5
