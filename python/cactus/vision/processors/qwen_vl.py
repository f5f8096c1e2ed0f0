"""Qwen2-VL, 2.5-VL and 3-VL: one tile of any shape, its patches in blocks that are merged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import InvalidImage, ModelFormatError
from cactus.inputs.fields import Fields
from cactus.vision.processors.base import ImageLimits, Layout, Processor, beyond, edge_of
from cactus.vision.processors.pixels import CLIP_MEAN, CLIP_STD, Pixels, Tile, unless

if TYPE_CHECKING:
    from cactus.images.picture import Picture

LONGEST = 200
"""How many times as long as wide an image may be."""


@dataclass(frozen=True)
class QwenVLProcessor(Processor):
    """Source: transformers' Qwen2VLImageProcessorPil and Qwen2VLProcessor.

    The reference shows a still image as two equal frames; here a patch is one, and the weights of
    both frames are added. Patches that become one feature lie side by side.
    """

    pixels: Pixels
    patch: int
    merge: int
    min_pixels: int
    max_pixels: int
    placeholder: str = "<|image_pad|>"
    image_token: str = "<|image_pad|>"

    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """As many features as the pixels ask for, within the settings and the limits."""
        limits = limits or ImageLimits()
        unit = self.patch * self.merge
        most = min(self.max_pixels, (limits.max_image_tokens or 1 << 40) * unit**2)
        wide, high = self._smart_size(width, height, min(self.min_pixels, most), most)
        count = (wide // unit) * (high // unit)
        if count > (limits.max_image_tokens or count):
            raise beyond(count, 1, limits)
        grid = (high // self.patch, wide // self.patch)
        text = self.image_token * count
        return Layout(width, height, (1, 1), (grid,), (count,), ((wide, high),), text)

    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """The one tile."""
        whole = self.pixels.resize(picture.pixels, *layout.scaled[0])
        (rows, cols), merge, patch = layout.grids[0], self.merge, self.patch
        blocks = whole.reshape(rows // merge, merge, patch, cols // merge, merge, patch, 3)
        ordered = blocks.transpose(0, 3, 1, 4, 2, 5, 6)
        patches = self.pixels.normalise(ordered).reshape(rows * cols, -1)
        yield Tile(patches, (rows, cols))

    def _smart_size(self, width: int, height: int, least: int, most: int) -> tuple[int, int]:
        """Width and height, multiples of a feature's side, of about `least` to `most` pixels."""
        if max(width, height) > LONGEST * min(width, height):
            raise InvalidImage(
                f"an image of {width} x {height} pixels is more than {LONGEST} times as long as "
                "wide; crop it"
            )
        unit = self.patch * self.merge
        wide, high = (round(side / unit) * unit for side in (width, height))
        if wide * high > most:
            scale = math.sqrt(width * height / most)
            wide, high = (
                max(unit, math.floor(side / scale / unit) * unit) for side in (width, height)
            )
        elif wide * high < least:
            scale = math.sqrt(least / (width * height))
            wide, high = (math.ceil(side * scale / unit) * unit for side in (width, height))
        return max(unit, wide), max(unit, high)


def make(settings: Fields, config: Fields) -> QwenVLProcessor:
    """The processor of a checkpoint's settings; what they lack are the family's."""
    unless(settings, "do_resize")
    patch = settings.integer("patch_size", 1, 64, 14)
    merge = settings.integer("merge_size", 1, 8, 2)
    vision = config.object("vision_config") or Fields({})
    for name, value in (("patch_size", patch), ("spatial_merge_size", merge)):
        if vision.integer(name, 1, 64, value) != value:
            raise ModelFormatError(
                f"{settings.where}: patches of {patch} pixels, {merge} x {merge} of them merged; "
                f"in config.json's vision_config, {name} is {vision.raw[name]}"
            )
    least = edge_of(settings, "size", "shortest_edge", 56 * 56)
    most = edge_of(settings, "size", "longest_edge", 28 * 28 * 1280)
    return QwenVLProcessor(
        pixels=Pixels.of(settings, resample=3, mean=CLIP_MEAN, std=CLIP_STD),
        patch=patch,
        merge=merge,
        # The older names of the two count where they are there.
        min_pixels=settings.integer("min_pixels", 1, 1 << 30, least),
        max_pixels=settings.integer("max_pixels", (patch * merge) ** 2, 1 << 30, most),
    )
