"""CLIP, SigLIP and SigLIP2, where a text and an image become vectors of one space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import ModelFormatError
from cactus.inputs.fields import Fields
from cactus.vision.processors.base import ImageLimits, Layout, Processor, edge_of, same_side
from cactus.vision.processors.pixels import CLIP_MEAN, CLIP_STD, Pixels, Tile, unless

if TYPE_CHECKING:
    from cactus.images.picture import Picture

LONGEST = 64
"""How many times its width an image may be scaled to before it is cropped; one that is longer is
cropped while it is scaled, which may change a value by one level."""


class DualProcessor(Processor):
    """One tile, and no text: the image enters no prompt. Limits do not apply."""

    placeholder = image_token = ""
    patch: int

    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """The one tile."""
        whole = self.pixels.resize(picture.pixels, *layout.scaled[0])
        yield self.pixels.tile(whole, self.patch)

    def _one(self, width: int, height: int, wide: int, high: int) -> Layout:
        grid = (high // self.patch, wide // self.patch)
        counts = (grid[0] * grid[1],)
        return Layout(width, height, (1, 1), (grid,), counts, ((wide, high),), "")


@dataclass(frozen=True)
class SquareProcessor(DualProcessor):
    """SigLIP: the image as a square, its shape not kept.

    Source: transformers' SiglipImageProcessorPil.
    """

    pixels: Pixels
    patch: int
    side: int

    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """A square."""
        return self._one(width, height, self.side, self.side)


@dataclass(frozen=True)
class CropProcessor(SquareProcessor):
    """CLIP: the square in the middle of the image, whose shorter side is made `edge`.

    Source: transformers' CLIPImageProcessorPil.
    """

    edge: int

    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """The one tile."""
        width, height = layout.width, layout.height
        short, long = min(width, height), max(width, height)
        length = int(self.edge * long / short)
        wide, high = (length, self.edge) if width >= height else (self.edge, length)
        left, top = (wide - self.side) // 2, (high - self.side) // 2
        if long > LONGEST * short:
            box = [left / wide * width, top / high * height, 0.0, 0.0]
            box[2] = box[0] + self.side / wide * width
            box[3] = box[1] + self.side / high * height
            square = self.pixels.resize_box(picture.pixels, self.side, tuple(box))
        else:
            whole = self.pixels.resize(picture.pixels, wide, high)
            square = whole[top : top + self.side, left : left + self.side]
        yield self.pixels.tile(square, self.patch)


@dataclass(frozen=True)
class FlexibleProcessor(DualProcessor):
    """SigLIP2 (NaFlex): the image in its shape, of so many patches at most.

    Source: transformers' Siglip2ImageProcessorPil.
    """

    pixels: Pixels
    patch: int
    most: int

    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """As many patches as there may be; the scale is found by halving, as in the source."""

        def sides(scale: float) -> tuple[int, int]:
            """Width and height in patches."""
            wide, high = (max(1, math.ceil(side * scale / self.patch)) for side in (width, height))
            return wide, high

        low, high = 1e-6, 100.0
        while high - low >= 1e-5:
            middle = (low + high) / 2
            if math.prod(sides(middle)) <= self.most:
                low = middle
            else:
                high = middle
        wide, tall = sides(low)
        return self._one(width, height, wide * self.patch, tall * self.patch)


def make(settings: Fields, config: Fields) -> DualProcessor:
    """The processor of a checkpoint's settings; what they lack are the family's."""
    unless(settings, "do_resize")
    vision = config.object("vision_config") or Fields({})
    kind = config.raw["model_type"]
    if kind == "siglip2" or settings.has("max_num_patches"):
        patch = settings.integer("patch_size", 1, 64, 16)
        most = settings.integer("max_num_patches", 1, 1 << 16, 256)
        return FlexibleProcessor(Pixels.of(settings, resample=2), patch, most)
    patch = vision.integer("patch_size", 1, 64, 32 if kind == "clip" else 16)
    if kind == "siglip":
        side = edge_of(settings, "size", "height", 224)
        if edge_of(settings, "size", "width", side) != side or side % patch:
            raise _not_a_square(settings, "size", patch)
        same_side(settings, vision, side)
        return SquareProcessor(Pixels.of(settings, resample=3), patch, side)
    unless(settings, "do_center_crop")
    side = edge_of(settings, "crop_size", "height", 224)
    edge = edge_of(settings, "size", "shortest_edge", 224)
    if edge_of(settings, "crop_size", "width", side) != side or side % patch or side > edge:
        raise _not_a_square(settings, "crop_size", patch)
    same_side(settings, vision, side)
    pixels = Pixels.of(settings, resample=3, mean=CLIP_MEAN, std=CLIP_STD)
    return CropProcessor(pixels, patch, side, edge)


def _not_a_square(settings: Fields, name: str, patch: int) -> ModelFormatError:
    return ModelFormatError(
        f"{settings.where}: {name} is {settings.raw.get(name)!r}, expected a square whose side "
        f"is a multiple of {patch} pixels, within size"
    )
