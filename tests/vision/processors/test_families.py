"""What limits make of an image, and which settings are refused, family by family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cactus.errors import InvalidImage, ModelFormatError, UnsupportedModel
from cactus.images.door import load
from cactus.vision.processors import ImageLimits, Processor
from tests.images.made import scene
from tests.vision.processors.families import FAMILIES

SIZES = ((386, 386), (1920, 1080), (640, 2000), (30, 40), (3000, 20))
SMOLVLM = Processor.make(
    {"model_type": "smolvlm", "scale_factor": 4, "vision_config": {"patch_size": 16}},
    {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}},
    {"image_seq_len": 64},
)


def make(family: str, **changes: Any) -> Processor:
    config, flat, nested = FAMILIES[family]
    return Processor.make(config, {**flat, **changes}, nested)


@pytest.mark.parametrize("family", ["smolvlm", "idefics3", "qwen2_vl", "qwen3_vl", "gemma3 scan"])
@pytest.mark.parametrize("size", SIZES)
def test_limits_are_kept(family: str, size: tuple[int, int]) -> None:
    processor = make(family)
    whole = processor.layout(*size)
    assert processor.layout(*size, ImageLimits(1000, 1 << 20)) == whole
    for most in (16, 8, 4, 2, 1):
        layout = processor.layout(*size, ImageLimits(max_tiles=most))
        assert layout.grid[0] * layout.grid[1] <= most and layout.tokens <= whole.tokens
    for most in (2000, 1000, 500, 250, 60, 15):
        try:
            layout = processor.layout(*size, ImageLimits(max_image_tokens=most))
        except InvalidImage as error:
            assert f"max_image_tokens is {most}" in str(error)
        else:
            assert layout.tokens <= min(most, whole.tokens)
            assert layout.text.count(processor.image_token) == layout.tokens


def test_a_small_image_becomes_seventeen_tiles_of_smolvlm_unless_less_is_asked() -> None:
    whole = SMOLVLM.layout(386, 386)
    assert (whole.grid, whole.tokens, whole.tiles) == ((4, 4), 1088, 17)
    assert whole.text.count("\n") == 5 and "\n\n<fake_token_around_image><global-img>" in whole.text
    one = SMOLVLM.layout(386, 386, ImageLimits(max_tiles=1))
    assert (one.grid, one.tokens, one.tiles) == ((1, 1), 64, 1)
    assert one.text.startswith("<fake_token_around_image><global-img><image>")
    some = SMOLVLM.layout(386, 386, ImageLimits(max_image_tokens=700))
    assert (some.grid, some.tokens) == ((3, 3), 640)
    picture = load(scene(386, 386))
    for layout in (one, some):
        tiles = list(SMOLVLM.tiles_of(picture, layout))
        assert [tile.grid for tile in tiles] == [(32, 32)] * layout.tiles


def test_without_splitting_the_whole_is_seen_alone() -> None:
    layout = make("smolvlm", do_image_splitting=False).layout(640, 480)
    assert (layout.tiles, layout.tokens) == (1, 16)


def test_qwen_refuses_what_is_200_times_as_long_as_wide() -> None:
    with pytest.raises(InvalidImage, match="1 x 201 pixels is more than 200 times"):
        make("qwen2_vl").layout(1, 201)
    assert make("qwen2_vl").layout(1, 200).tokens > 0


def test_qwen_puts_patches_that_are_merged_side_by_side() -> None:
    processor = make("qwen2_vl")
    picture = load(scene(112, 84))
    (tile,) = processor.tiles_of(picture, processor.layout(112, 84))
    assert tile.grid == (6, 8)
    blocks = tile.patches.reshape(3, 4, 2, 2, 14, 14, 3)
    pixels = processor.pixels.normalise(picture.pixels)
    assert np.array_equal(blocks[1, 2, 0, 1], pixels[28:42, 70:84])
    assert np.array_equal(blocks[1, 2, 1, 0], pixels[42:56, 56:70])


def test_clip_crops_the_middle_of_an_image_however_long_it_is() -> None:
    processor = make("clip")
    for size in ((20_000, 16), (16, 20_000)):  # past what is scaled before it is cropped
        picture = load(scene(*size))
        (tile,) = processor.tiles_of(picture, processor.layout(*size))
        assert tile.grid == (7, 7)
        first = slice(9992, 10008)
        middle = picture.pixels[:, first] if size[0] > size[1] else picture.pixels[first]
        square = make("clip").tiles_of(load(middle.copy()), processor.layout(16, 16))
        assert np.abs(next(square).patches - tile.patches).mean() < 0.05


@pytest.mark.parametrize(
    ("family", "changes", "error"),
    [
        ("smolvlm", {"max_image_size": {"longest_edge": 500}}, ModelFormatError),
        ("smolvlm", {"max_image_size": {"longest_edge": 512}}, ModelFormatError),  # image_seq_len
        ("smolvlm", {"do_resize": False}, UnsupportedModel),
        ("smolvlm", {"size": {"longest_edge": "large"}}, ModelFormatError),
        ("qwen2_vl", {"max_pixels": 100}, ModelFormatError),
        ("qwen2_vl", {"patch_size": 0}, ModelFormatError),
        ("gemma3", {"size": {"height": 112, "width": 126}}, ModelFormatError),
        ("gemma3", {"size": {"height": 100, "width": 100}}, ModelFormatError),
        ("clip", {"crop_size": {"height": 448, "width": 448}}, ModelFormatError),
        ("clip", {"do_center_crop": False}, UnsupportedModel),
        ("siglip", {"size": {"height": 224, "width": 200}}, ModelFormatError),
        ("siglip2", {"max_num_patches": 0}, ModelFormatError),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    family: str, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(family, **changes)


def test_what_fills_no_patch_at_the_edge_of_a_tile_is_not_seen() -> None:
    config = {"model_type": "smolvlm", "scale_factor": 3, "vision_config": {"patch_size": 14}}
    sizes = {"max_image_size": {"longest_edge": 384}, "size": {"longest_edge": 1536}}
    processor = Processor.make(config, sizes, {"image_seq_len": 81})
    picture = load(scene(384, 384, 1))
    (tile,) = processor.tiles_of(picture, processor.layout(384, 384, ImageLimits(max_tiles=1)))
    assert tile.grid == (27, 27) and len(tile.patches) == 729
    corner = picture.pixels[364:378, 364:378].reshape(-1)
    assert np.allclose(tile.patches[-1] * 127.5 + 127.5, corner, atol=1e-3)


def test_a_tower_with_other_patches_than_the_processor_is_refused() -> None:
    config = {"model_type": "qwen2_vl", "vision_config": {"patch_size": 16}}
    with pytest.raises(ModelFormatError, match="patch_size is 16"):
        Processor.make(config, {}, {})
    for family in ("gemma3", "clip", "siglip"):
        config, flat, nested = FAMILIES[family]
        config = {**config, "vision_config": {**config["vision_config"], "image_size": 336}}
        with pytest.raises(ModelFormatError, match="vision_config has image_size 336"):
            Processor.make(config, flat, nested)
