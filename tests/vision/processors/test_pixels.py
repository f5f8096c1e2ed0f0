"""Scaling in strips has the bits of Pillow's own scaling, rows first."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cactus.images import picture
from cactus.vision.processors.pixels import FILTERS, Pixels
from tests.images.made import scene


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((300, 200), (97, 53)),
        ((30, 20), (97, 153)),
        ((300, 20), (97, 153)),
        ((64, 64), (64, 20)),
        ((64, 64), (20, 64)),
        ((64, 64), (64, 64)),
        ((1, 400), (32, 400)),
        ((1, 1), (32, 48)),
    ],
)
def test_scaling_has_pillows_bits(
    resample: int, old: tuple[int, int], new: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = scene(*old)
    # In two calls: Pillow 13 chooses by the size which pass comes first.
    rows = Image.fromarray(pixels).resize((new[0], old[1]), resample)
    wanted = np.asarray(rows.resize(new, resample))
    scaler = Pixels(resample, 1 / 255, (0.5,) * 3, (0.5,) * 3)
    for size in (1 << 20, 1000):
        monkeypatch.setattr(picture, "STRIP_PIXELS", size)
        assert np.array_equal(scaler.resize(pixels, *new), wanted)


def test_each_channel_has_a_mean_of_its_own() -> None:
    scaler = Pixels(2, 1 / 255, (0.1, 0.2, 0.3), (0.5, 0.25, 1.0))
    pixels = scene(32, 16)
    tile = scaler.tile(pixels, 16)
    assert tile.grid == (1, 2)
    wanted = (pixels[:, 16:] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 1.0]
    assert np.allclose(tile.patches[1], wanted.reshape(-1), atol=1e-6)
