"""LFM2-VL's layouts: the reference's counts of tokens, and what limits make of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from cactus.errors import InvalidImage, InvalidRequest, ModelFormatError, UnsupportedModel
from cactus.images.door import load
from cactus.vision.processors import ImageLimits, Processor
from tests.images.made import scene

CONFIG = {"model_type": "lfm2_vl"}
PROCESSOR = Processor.make(CONFIG, {}, {})


def tokens(text: str) -> int:
    """Markers and image tokens."""
    return len(re.findall(r"<[^>]*>", text))


@pytest.mark.parametrize(
    ("size", "grid", "last", "count"),
    [
        ((256, 256), (1, 1), (256, 256), 66),
        ((640, 480), (1, 1), (576, 416), 236),
        ((720, 720), (1, 1), (512, 512), 258),
        ((724, 724), (2, 2), (512, 512), 1287),
        ((1024, 768), (2, 3), (576, 416), 1779),
        ((1280, 720), (1, 2), (672, 384), 769),
        ((1280, 1024), (3, 3), (544, 448), 2554),
        ((1920, 1080), (2, 4), (672, 384), 2311),
        ((1, 4000), (1, 1), (32, 4000), 127),
    ],
)
def test_the_counts_are_those_of_the_reference(
    size: tuple[int, int], grid: tuple[int, int], last: tuple[int, int], count: int
) -> None:
    layout = PROCESSOR.layout(*size)
    assert layout.grid == grid
    assert layout.scaled == (last,)
    assert tokens(layout.text) == count
    assert layout.text.count("<image>") == layout.tokens == sum(layout.tile_tokens)
    assert layout.tiles == len(layout.tile_tokens) == grid[0] * grid[1] + (grid != (1, 1))
    assert layout.grids[-1] == (last[1] // 16, last[0] // 16)


def test_the_text_names_rows_and_columns() -> None:
    text = PROCESSOR.layout(1280, 720).text
    short = re.sub(r"(<image>)+", lambda found: str(len(found[0]) // 7), text)
    assert short == (
        "<|image_start|><|img_row_1_col_1|>256<|img_row_1_col_2|>256<|img_thumbnail|>252<|image_end|>"
    )
    assert PROCESSOR.layout(256, 256).text == "<|image_start|>" + "<image>" * 64 + "<|image_end|>"
    plain = Processor.make(CONFIG, {}, {"use_image_special_tokens": False})
    assert plain.layout(256, 256).text == "<image>" * 64


def test_an_image_that_no_tile_takes_is_refused_with_the_figures() -> None:
    for size in ((60000, 1), (1, 60000)):
        with pytest.raises(InvalidImage, match=r"has 15,676 patches in one tile, and .* 1,024"):
            PROCESSOR.layout(*size)
    with pytest.raises(InvalidImage, match="4,956 patches"):  # the thumbnail
        PROCESSOR.layout(60000, 10)


def test_tiles_are_cut_row_by_row_and_the_thumbnail_is_last() -> None:
    picture = load(scene(1024, 768))
    layout = PROCESSOR.layout(1024, 768)
    tiles = list(PROCESSOR.tiles_of(picture, layout))
    assert [tile.grid for tile in tiles] == list(layout.grids)
    from PIL import Image

    whole = np.asarray(Image.fromarray(picture.pixels).resize((1536, 1024), 2))
    for index, tile in enumerate(tiles[:-1]):
        row, col = divmod(index, 3)
        cut = whole[row * 512 : row * 512 + 512, col * 512 : col * 512 + 512]
        for patch in (0, 1, 33, 1023):
            top, left = patch // 32 * 16, patch % 32 * 16
            values = cut[top : top + 16, left : left + 16].reshape(-1)  # row, column, channel
            assert np.allclose(tile.patches[patch], values / 127.5 - 1, atol=1e-6)
    small = np.asarray(Image.fromarray(picture.pixels).resize((576, 416), 2))
    assert np.allclose(
        tiles[-1].patches[37], small[16:32, 16:32].reshape(-1) / 127.5 - 1, atol=1e-6
    )


def test_tiles_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    kind = type(PROCESSOR.pixels)
    real = kind.tile

    def tile(self: Any, *arguments: Any) -> Any:
        made.append(1)
        return real(self, *arguments)

    monkeypatch.setattr(kind, "tile", tile)
    tiles = PROCESSOR.tiles_of(load(scene(1024, 768)), PROCESSOR.layout(1024, 768))
    assert not made
    next(tiles)
    next(tiles)
    assert len(made) == 2


@pytest.mark.parametrize("size", [(1920, 1080), (3000, 400), (700, 1500), (640, 480), (90, 4000)])
def test_limits_give_less_and_never_more(size: tuple[int, int]) -> None:
    whole = PROCESSOR.layout(*size)
    assert PROCESSOR.layout(*size, ImageLimits(100, 1 << 20)) == whole
    last = whole.tokens
    for most in range(10, 0, -1):
        layout = PROCESSOR.layout(*size, ImageLimits(max_tiles=most))
        assert layout.grid[0] * layout.grid[1] <= most
        assert layout.tokens <= last
        last = layout.tokens
    for most in (2000, 1300, 700, 256, 200, 140, 64, 20):
        layout = PROCESSOR.layout(*size, ImageLimits(max_image_tokens=most))
        assert layout.tokens <= most
        assert layout.text.count("<image>") == layout.tokens


@pytest.mark.parametrize("size", [(206, 149), (1, 213), (5045, 696), (952, 2), (8000, 30), (1, 1)])
@pytest.mark.parametrize("most", [1, 2, 3, 16, 63, 64, 65, 256])
def test_any_image_can_be_made_small_enough(size: tuple[int, int], most: int) -> None:
    layout = PROCESSOR.layout(*size, ImageLimits(max_image_tokens=most))
    assert most // 4 <= layout.tokens <= most


def test_limits_are_positive_integers() -> None:
    for wrong in (0, -1, 1.5, True, "4"):
        with pytest.raises(InvalidRequest, match="max_tiles is"):
            ImageLimits(max_tiles=wrong)  # type: ignore[arg-type]


def test_settings_are_merged_and_checked() -> None:
    flat = {"max_tiles": 4, "use_thumbnail": False, "tile_size": 256, "min_image_tokens": 16}
    nested = {"image_processor": {"max_tiles": 6}, "image_processor_type": "x"}
    processor = Processor.make(CONFIG, flat, nested)
    assert (processor.max_tiles, processor.thumbnail, processor.tile) == (6, False, 256)  # type: ignore[attr-defined]
    assert "thumbnail" not in processor.layout(1024, 768).text
    off = Processor.make(CONFIG, {"do_image_splitting": False}, {})
    assert off.layout(1920, 1080).grid == (1, 1)
    for wrong in (
        {"encoder_patch_size": 4},
        {"downsample_factor": 1},
        {"tile_size": 500},
        {"min_tiles": 11},
        {"max_image_tokens": "256"},
        {"image_std": [0, 1, 1]},
        {"max_pixels_tolerance": float("nan")},
        {"min_image_tokens": 300},
        {"resample": 4},
    ):
        with pytest.raises(ModelFormatError):
            Processor.make(CONFIG, wrong, {})
    with pytest.raises(ModelFormatError, match=r"processor_config\.json: image_processor"):
        Processor.make(CONFIG, {}, {"image_processor": [1]})
    with pytest.raises(UnsupportedModel, match="model_type 'llama'"):
        Processor.make({"model_type": "llama"}, {}, {})
    with pytest.raises(UnsupportedModel, match="do_normalize is false"):
        Processor.make(CONFIG, {"do_normalize": False}, {})


def test_every_setting_is_in_the_fingerprint() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"max_tiles": 4},
        {"resample": 3},
        {"image_mean": [0.4, 0.5, 0.5]},
        {"use_thumbnail": False},
        {"max_pixels_tolerance": 1.5},
    ]
    prints = {Processor.make(CONFIG, change, {}).fingerprint for change in changes}
    assert len(prints) == len(changes)
    assert Processor.make(CONFIG, {}, {}).fingerprint in prints
