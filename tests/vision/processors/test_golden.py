"""Pixel values, patch order, grids and texts of every family, as transformers has them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.images.door import load
from cactus.images.picture import Picture
from cactus.vision.processors import Layout, Processor
from tests.images.samples import samples
from tests.vision.processors.families import FAMILIES, digest, images_of, kept, shown

GOLDEN: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "processors.json").read_text()
)


@cache
def picture(name: str) -> Picture:
    return load(samples()[name])


@cache
def seen(family: str, name: str) -> tuple[Layout, list[list[float]]]:
    """Layout of an image, and what is compared of its tiles."""
    processor = Processor.make(*FAMILIES[family])
    image = picture(name)
    layout = processor.layout(image.width, image.height)
    tiles = list(processor.tiles_of(image, layout))
    assert [tile.grid for tile in tiles] == list(layout.grids)
    return layout, [shown(tiles[index].patches) for index in kept(len(tiles))]


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in FAMILIES for name in images_of(family)]
)
def test_an_image_is_seen_as_the_reference_sees_it(family: str, name: str) -> None:
    wanted = GOLDEN[family][name]
    layout, tiles = seen(family, name)
    assert [list(grid) for grid in layout.grids] == wanted["grids"]
    assert digest(layout.text) == wanted["text"]
    assert layout.text.count("<") == 0 or layout.tokens == layout.text.count(
        Processor.make(*FAMILIES[family]).image_token
    )
    assert np.abs(np.subtract(tiles, wanted["tiles"])).max() <= 1.1e-5


@pytest.mark.parametrize("name", samples())
def test_torchvisions_scaling_is_at_most_one_level_away(name: str) -> None:
    wanted = GOLDEN["lfm2_vl torchvision"][name]
    layout, tiles = seen("lfm2_vl", name)
    assert [list(grid) for grid in layout.grids] == wanted["grids"]
    assert np.abs(np.subtract(tiles, wanted["tiles"])).max() <= 1 / 127.5 + 1.1e-5
