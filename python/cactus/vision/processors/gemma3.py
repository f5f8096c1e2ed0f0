"""Gemma 3: the image as a square of one size; pan and scan, where the settings ask for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import ModelFormatError
from cactus.inputs.fields import Fields
from cactus.vision.processors.base import ImageLimits, Layout, Processor, beyond, edge_of, same_side
from cactus.vision.processors.pixels import Pixels, Tile, unless

if TYPE_CHECKING:
    from cactus.images.picture import Picture


@dataclass(frozen=True)
class Gemma3Processor(Processor):
    """Source: transformers' Gemma3ImageProcessorPil and Gemma3Processor."""

    pixels: Pixels
    patch: int
    side: int
    tokens: int
    scan: bool
    scan_side: int
    scan_crops: int
    scan_ratio: float
    placeholder: str = "<start_of_image>"
    image_token: str = "<image_soft_token>"

    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """The whole image, and crops of it behind that, as far as the limits go."""
        limits = limits or ImageLimits()
        most = min(self.scan_crops, limits.max_tiles or self.scan_crops)
        if limits.max_image_tokens:
            most = min(most, limits.max_image_tokens // self.tokens - 1)
            if self.tokens > limits.max_image_tokens:
                raise beyond(self.tokens, 1, limits)
        rows, cols = self._crops(width, height, most) if self.scan and most > 1 else (1, 1)
        tiles = rows * cols + 1 if rows * cols > 1 else 1
        patches = self.side // self.patch
        return Layout(
            width,
            height,
            (rows, cols),
            ((patches, patches),) * tiles,
            (self.tokens,) * tiles,
            ((self.side, self.side),),
            self._text(tiles - 1),
        )

    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """The whole, then its crops row by row."""
        yield self._tile(picture, 0, picture.height, 0, picture.width)
        if layout.tiles > 1:
            rows, cols = layout.grid
            high, wide = math.ceil(picture.height / rows), math.ceil(picture.width / cols)
            for row in range(rows):
                for col in range(cols):
                    yield self._tile(picture, row * high, high, col * wide, wide)

    def _tile(self, picture: Picture, top: int, high: int, left: int, wide: int) -> Tile:
        cut = picture.pixels[top : top + high, left : left + wide]
        return self.pixels.tile(self.pixels.resize(cut, self.side, self.side), self.patch)

    def _crops(self, width: int, height: int, most: int) -> tuple[int, int]:
        """Rows and columns of crops, along the longer side; (1, 1) for none."""
        long, short = max(width, height), min(width, height)
        if long / short < self.scan_ratio:
            return 1, 1
        count = min(long // self.scan_side, math.floor(long / short + 0.5))
        count = min(most, max(2, count))
        if min(math.ceil(long / count), short) < self.scan_side:
            return 1, 1
        return (1, count) if width >= height else (count, 1)

    def _text(self, crops: int) -> str:
        image = f"\n\n<start_of_image>{self.image_token * self.tokens}<end_of_image>\n\n"
        if not crops:
            return image
        return (
            f"Here is the original image {image} and here are some crops to help you see better "
            + " ".join([image] * crops)
        )


def make(settings: Fields, config: Fields) -> Gemma3Processor:
    """The processor of a checkpoint's settings; what they lack are the family's."""
    unless(settings, "do_resize")
    vision = config.object("vision_config") or Fields({})
    patch = vision.integer("patch_size", 1, 64, 14)
    side = edge_of(settings, "size", "height", 224)
    if edge_of(settings, "size", "width", side) != side or side % patch:
        raise ModelFormatError(
            f"{settings.where}: size is {settings.raw.get('size')!r}, expected a square whose side "
            f"is a multiple of {patch} pixels"
        )
    same_side(settings, vision, side)
    tokens = config.integer("mm_tokens_per_image", 1, 1 << 16, 256)
    return Gemma3Processor(
        pixels=Pixels.of(settings, resample=2),
        patch=patch,
        side=side,
        tokens=settings.integer("image_seq_length", tokens, tokens, tokens),
        scan=settings.flag("do_pan_and_scan", False),
        scan_side=settings.integer("pan_and_scan_min_crop_size", 1, 1 << 16, 256),
        scan_crops=settings.integer("pan_and_scan_max_num_crops", 1, 64, 4),
        scan_ratio=settings.number("pan_and_scan_min_ratio_to_activate", 1.0, 1e3, 1.2),
    )
