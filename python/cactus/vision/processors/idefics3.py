"""Idefics3 and SmolVLM: every image made large, cut into square tiles, and seen as a whole, too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import ModelFormatError
from cactus.inputs.fields import Fields
from cactus.vision.processors.base import ImageLimits, Layout, Processor, beyond, edge_of
from cactus.vision.processors.pixels import Pixels, Tile, unless

if TYPE_CHECKING:
    from cactus.images.picture import Picture

Size = tuple[int, int]

LONGEST = 4096
"""Pixels of the longer side at most, whatever the settings say."""


@dataclass(frozen=True)
class Idefics3Processor(Processor):
    """Source: transformers' Idefics3ImageProcessorPil and Idefics3Processor.

    An image is scaled three times, as there: its longer side to `edge`, both sides up to multiples
    of `side`, and that once more for the whole.
    """

    pixels: Pixels
    patch: int
    factor: int
    edge: int
    side: int
    split: bool
    placeholder: str = "<image>"
    image_token: str = "<image>"

    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """With the longer side as the settings say, or the most that fits the limits."""
        limits = limits or ImageLimits()
        smaller = range((self.edge - 1) // self.side * self.side, 0, -self.side)
        for edge in (self.edge, *smaller):
            found = self._layout(width, height, edge)
            tiles = found.grid[0] * found.grid[1]
            if tiles <= (limits.max_tiles or tiles) and found.tokens <= (
                limits.max_image_tokens or found.tokens
            ):
                return found
        raise beyond(found.tokens, 1, limits)

    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """Row by row, and the whole behind them."""
        rows, cols = layout.grid
        side = self.side
        whole = picture.pixels
        for size in layout.scaled:
            whole = self.pixels.resize(whole, *size)
        if layout.tiles > 1:
            for row in range(rows):
                for col in range(cols):
                    cut = whole[row * side : (row + 1) * side, col * side : (col + 1) * side]
                    yield self.pixels.tile(cut, self.patch)
            whole = self.pixels.resize(whole, side, side)
        yield self.pixels.tile(whole, self.patch)

    def _layout(self, width: int, height: int, edge: int) -> Layout:
        large = _longer_side(width, height, edge)
        whole = _multiples(*large, self.side) if self.split else (self.side, self.side)
        rows, cols = whole[1] // self.side, whole[0] // self.side
        tiles = rows * cols + 1 if rows * cols > 1 else 1
        patches = self.side // self.patch
        count = (patches // self.factor) ** 2
        return Layout(
            width,
            height,
            (rows, cols),
            ((patches, patches),) * tiles,
            (count,) * tiles,
            (large, whole),
            self._text(rows, cols, count),
        )

    def _text(self, rows: int, cols: int, count: int) -> str:
        mark, image = "<fake_token_around_image>", self.image_token * count
        lines = [
            "".join(f"{mark}<row_{row + 1}_col_{col + 1}>{image}" for col in range(cols)) + "\n"
            for row in range(rows)
        ]
        tiles = "".join(lines) + "\n" if rows * cols > 1 else ""
        return f"{tiles}{mark}<global-img>{image}{mark}"


def _longer_side(width: int, height: int, edge: int) -> Size:
    """The longer side made `edge`, the other one even."""
    if width >= height:
        wide, high = edge, int(edge / (width / height))
        high += high % 2
    else:
        wide, high = int(edge * (width / height)), edge
        wide += wide % 2
    return max(wide, 1), max(high, 1)


def _multiples(width: int, height: int, side: int) -> Size:
    """Both sides up to multiples of `side`, the longer one first."""

    def up(value: int) -> int:
        return max(1, math.ceil(value / side)) * side

    if width >= height:
        return up(width), up(int(up(width) / (width / height)))
    return up(int(up(height) * (width / height))), up(height)


def make(settings: Fields, config: Fields) -> Idefics3Processor:
    """The processor of a checkpoint's settings; what they lack are the family's."""
    unless(settings, "do_resize")
    vision = config.object("vision_config") or Fields({})
    patch = vision.integer("patch_size", 1, 64, 32)
    factor = config.integer("scale_factor", 1, 16, 2)
    side = edge_of(settings, "max_image_size", "longest_edge", 364)
    if side < patch or side // patch % factor:
        raise ModelFormatError(
            f"{settings.where}: max_image_size is {side}, {side // patch} patches of {patch} "
            f"pixels, which make no squares of {factor} by {factor}"
        )
    made = Idefics3Processor(
        pixels=Pixels.of(settings, resample=1),
        patch=patch,
        factor=factor,
        edge=min(edge_of(settings, "size", "longest_edge", 4 * 364), LONGEST),
        side=side,
        split=settings.flag("do_image_splitting", True),
    )
    count = (side // patch // factor) ** 2
    said = settings.integer("image_seq_len", 1, 1 << 20, count)
    if said != count:
        raise ModelFormatError(
            f"{settings.where}: image_seq_len is {said}, but a tile of {side} pixels has {count} "
            "features"
        )
    return made
