"""Pixels on their way to a tower: scaled as Pillow does, normalised, and cut into patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cactus.errors import UnsupportedModel
from cactus.images.picture import strips
from cactus.inputs.fields import Fields

U8 = NDArray[np.uint8]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of them, which stand in the files."""


@dataclass(frozen=True, eq=False)
class Tile:
    """What the tower sees at once: `patches` f32 [rows * cols, patch * patch * 3], and that grid.

    A patch is its pixels in the order row, column, channel.
    """

    patches: NDArray[np.float32]
    grid: tuple[int, int]


@dataclass(frozen=True)
class Pixels:
    """How pixels are scaled and normalised: value * `rescale`, less `mean`, over `std`."""

    resample: int
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(
        settings: Fields,
        resample: int,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> Pixels:
        """From a checkpoint's settings; what is given here is the family's default."""
        unless(settings, "do_rescale", "do_normalize")
        if settings.has("image_mean"):
            mean = tuple(settings.numbers("image_mean", 3, -1e3, 1e3))
        if settings.has("image_std"):
            std = tuple(settings.numbers("image_std", 3, 1e-6, 1e3))
        rescale = settings.number("rescale_factor", 1e-6, 1.0, 1 / 255)
        return Pixels(settings.integer("resample", 0, 3, resample), rescale, mean, std)

    def resize(self, pixels: U8, width: int, height: int) -> U8:
        """Scaled to another size, [height, width, 3]: with Pillow's bits, rows first, then columns.

        Pillow before version 13 has that order, too; after it, the two are a level apart at most.
        Both passes are done in strips: a Pillow image has a third more bytes than the pixels.
        """
        rows = _scale(pixels, 1, width, self.resample)
        return _scale(rows, 0, height, self.resample)

    def resize_box(self, pixels: U8, side: int, box: tuple[float, ...]) -> U8:
        """A part of the image, in pixels (left, top, right, bottom), scaled to a square."""
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(pixels))
        left, top, right, bottom = box
        scaled = image.resize((side, side), self.resample, (left, top, right, bottom))
        return np.asarray(scaled)

    def tile(self, pixels: U8, patch: int) -> Tile:
        """A tile of whole patches, which lie row by row; what is left at its edges is not seen."""
        rows, cols = pixels.shape[0] // patch, pixels.shape[1] // patch
        whole = pixels[: rows * patch, : cols * patch]
        squares = whole.reshape(rows, patch, cols, patch, 3).swapaxes(1, 2)
        return Tile(self.normalise(squares).reshape(rows * cols, -1), (rows, cols))

    def normalise(self, pixels: U8) -> NDArray[np.float32]:
        """f32 of the same shape, whose last axis is the channels."""
        result = np.array(pixels, np.float32, order="C")
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            values = result[..., channel]
            values *= np.float32(self.rescale / std)
            values -= np.float32(mean / std)
        return result


def _scale(pixels: U8, axis: int, length: int, resample: int) -> U8:
    """The columns (axis 0) or rows (axis 1) of an image scaled to a length, in strips of many."""
    from PIL import Image

    old, across = pixels.shape[axis], pixels.shape[1 - axis]
    if length == old:
        return pixels
    result = np.empty((length, across, 3) if axis == 0 else (across, length, 3), np.uint8)
    for start, end in strips(max(old, length), across):
        part = (slice(None), slice(start, end)) if axis == 0 else slice(start, end)
        strip = Image.fromarray(np.ascontiguousarray(pixels[part]))
        size = (end - start, length) if axis == 0 else (length, end - start)
        result[part] = np.asarray(strip.resize(size, resample))
    return result


def unless(settings: Fields, *names: str) -> None:
    """UnsupportedModel where a step that is always done is switched off."""
    for name in names:
        if not settings.flag(name, True):
            raise UnsupportedModel(f"{settings.where}: {name} is false, which is not supported")
