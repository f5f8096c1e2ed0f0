"""LFM2-VL: one tile of any shape, or a grid of square tiles and a thumbnail of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import ModelFormatError
from cactus.inputs.fields import Fields
from cactus.vision.processors.base import ImageLimits, Layout, Processor, refuse
from cactus.vision.processors.pixels import Pixels, Tile

if TYPE_CHECKING:
    from cactus.images.picture import Picture


@dataclass(frozen=True)
class Lfm2VLProcessor(Processor):
    """Source: transformers' Lfm2VlImageProcessor and Lfm2VlProcessor, with Pillow's scaling."""

    pixels: Pixels
    patch: int
    factor: int
    min_tokens: int
    max_tokens: int
    tile: int
    min_tiles: int
    max_tiles: int
    tolerance: float
    thumbnail: bool
    markers: bool
    placeholder: str = "<image>"
    image_token: str = "<image>"

    @property
    def unit(self) -> int:
        """The side of the square of pixels that becomes one image feature."""
        return self.patch * self.factor

    @property
    def most_patches(self) -> int:
        """Patches of a tile at most."""
        return max(self.max_tokens * self.factor**2, (self.tile // self.patch) ** 2)

    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """The largest layout within the limits: with fewer tiles, then one with fewer tokens."""
        limits = limits or ImageLimits()
        most_tiles = min(self.max_tiles, limits.max_tiles or self.max_tiles)
        most_tokens = limits.max_image_tokens or 1 << 40
        if self._is_large(width, height):
            for tiles in range(most_tiles, max(self.min_tiles, 2) - 1, -1):
                found = self._tiled(width, height, tiles)
                if found.tokens <= most_tokens:
                    return found
        low, high = min(self.min_tokens, most_tokens), min(self.max_tokens, most_tokens)
        size = self._smart_size(width, height, low, high)
        if size[0] * size[1] > most_tokens * self.unit**2:
            size = self._size_within(width, height, most_tokens)
        return self._layout(width, height, (1, 1), size)

    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """Row by row, and the thumbnail behind them."""
        rows, cols = layout.grid
        if rows * cols > 1:
            side = self.tile
            whole = self.pixels.resize(picture.pixels, cols * side, rows * side)
            for row in range(rows):
                for col in range(cols):
                    cut = whole[row * side : (row + 1) * side, col * side : (col + 1) * side]
                    yield self.pixels.tile(cut, self.patch)
            del whole, cut
        if layout.scaled:
            whole = self.pixels.resize(picture.pixels, *layout.scaled[0])
            yield self.pixels.tile(whole, self.patch)

    def _is_large(self, width: int, height: int) -> bool:
        """Whether one tile is not enough; here, and only here, a side counts at least a patch."""
        wide, high = (max(self.patch, _nearest(side, self.unit)) for side in (width, height))
        return wide * high > self.max_tokens * self.unit**2 * self.tolerance

    def _smart_size(self, width: int, height: int, low: int, high: int) -> tuple[int, int]:
        """Width and height, multiples of the unit, for about `low` to `high` tokens."""
        unit = self.unit
        least, most = low * unit**2, high * unit**2
        wide, high = (max(unit, _nearest(side, unit)) for side in (width, height))
        if wide * high > most:
            scale = math.sqrt(width * height / most)
            wide, high = (
                max(unit, math.floor(side / scale / unit) * unit) for side in (width, height)
            )
        elif wide * high < least:
            scale = math.sqrt(least / (width * height))
            wide, high = (math.ceil(side * scale / unit) * unit for side in (width, height))
        return wide, high

    def _size_within(self, width: int, height: int, most: int) -> tuple[int, int]:
        """Width and height, multiples of the unit, for at most so many tokens: the caller's limit.

        The checkpoint's own sizes are a little beyond their limits where both sides are rounded up,
        and far beyond where a side cannot be made smaller.
        """
        scale = math.sqrt(most / (width * height))
        cols, rows = (max(1, min(most, math.floor(side * scale))) for side in (width, height))
        return cols * self.unit, min(rows, most // cols) * self.unit

    def _tiled(self, width: int, height: int, most: int) -> Layout:
        """The grid whose shape is nearest, and a thumbnail."""
        grids = [
            (cols, rows)
            for count in range(self.min_tiles, most + 1)
            for cols in range(1, count + 1)
            for rows in range(1, count + 1)
            if cols * rows == count
        ]
        best, least = (1, 1), math.inf
        for cols, rows in grids:
            apart = abs(width / height - cols / rows)
            large = width * height > 0.5 * self.tile**2 * cols * rows
            if apart < least or (apart == least and large):
                best, least = (cols, rows), apart
        size = self._smart_size(width, height, self.min_tokens, self.max_tokens)
        return self._layout(width, height, (best[1], best[0]), size)

    def _layout(
        self, width: int, height: int, grid: tuple[int, int], size: tuple[int, int]
    ) -> Layout:
        """`grid`: rows and columns of tiles; `size`: that of the thumbnail or the only tile."""
        tiles = grid[0] * grid[1] if grid != (1, 1) else 0
        side = self.tile // self.patch
        grids, counts = [(side, side)] * tiles, [(side // self.factor) ** 2] * tiles
        scaled = []
        if not tiles or self.thumbnail:
            rows, cols = size[1] // self.patch, size[0] // self.patch
            if rows * cols > self.most_patches:
                raise refuse(width, height, rows * cols, self.most_patches)
            grids.append((rows, cols))
            counts.append(rows // self.factor * (cols // self.factor))
            scaled.append(size)
        return Layout(
            width,
            height,
            grid,
            tuple(grids),
            tuple(counts),
            tuple(scaled),
            self._text(grid, counts, tiles),
        )

    def _text(self, grid: tuple[int, int], counts: list[int], tiles: int) -> str:
        names = [f"<|img_row_{i // grid[1] + 1}_col_{i % grid[1] + 1}|>" for i in range(tiles)]
        names.append("<|img_thumbnail|>" if tiles else "")
        parts = [
            (name if self.markers else "") + self.image_token * count
            for name, count in zip(names, counts, strict=False)
        ]
        text = "".join(parts)
        return f"<|image_start|>{text}<|image_end|>" if self.markers else text


def _nearest(side: int, unit: int) -> int:
    """The nearest multiple; of two that are equally near, the even one."""
    return round(side / unit) * unit


def make(settings: Fields, config: Fields) -> Lfm2VLProcessor:
    """The processor of a checkpoint's settings; what they lack are the family's."""
    vision = config.object("vision_config") or Fields({})
    own_patch = vision.integer("patch_size", 1, 64, 16)
    own_factor = config.integer("downsample_factor", 1, 8, 2)
    patch = settings.integer("encoder_patch_size", 1, 64, own_patch)
    factor = settings.integer("downsample_factor", 1, 8, own_factor)
    if (patch, factor) != (own_patch, own_factor):
        raise ModelFormatError(
            f"{settings.where}: encoder_patch_size is {patch} and downsample_factor {factor}; in "
            f"config.json they are {own_patch} and {own_factor}"
        )
    split = settings.flag("do_image_splitting", True)
    max_tiles = settings.integer("max_tiles", 1, 100, 10) if split else 1
    made = Lfm2VLProcessor(
        pixels=Pixels.of(settings, resample=2),
        patch=patch,
        factor=factor,
        min_tokens=settings.integer("min_image_tokens", 1, 1 << 16, 64),
        max_tokens=settings.integer("max_image_tokens", 1, 1 << 16, 256),
        tile=settings.integer("tile_size", patch * factor, 4096, 512, multiple=patch * factor),
        min_tiles=settings.integer("min_tiles", 1, max_tiles, min(2, max_tiles)) if split else 1,
        max_tiles=max_tiles,
        tolerance=settings.number("max_pixels_tolerance", 0.1, 100.0, 2.0),
        thumbnail=settings.flag("use_thumbnail", True),
        markers=settings.flag("use_image_special_tokens", True),
    )
    if made.min_tokens > made.max_tokens:
        raise ModelFormatError(
            f"{settings.where}: min_image_tokens is {made.min_tokens}, more than "
            f"max_image_tokens, {made.max_tokens}"
        )
    return made
