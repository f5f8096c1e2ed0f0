"""What a loaded image is, how large one may be, and where one may come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cactus.errors import InvalidImage, InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIXELS = 64_000_000
FILE_BYTES = 20 << 20


STRIP_PIXELS = 1 << 20


def strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """First row and end of each strip of an image: what is made of it by strips needs no more
    memory than a megapixel beside the image and the result.
    """
    rows = max(1, STRIP_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


@dataclass(frozen=True)
class Limits:
    """How large an image may be: `pixels` when decoded, `file_bytes` as a file.

    Neither can be raised above its default. Raises InvalidRequest.
    """

    pixels: int = PIXELS
    file_bytes: int = FILE_BYTES

    def __post_init__(self) -> None:
        for name, most in (("pixels", PIXELS), ("file_bytes", FILE_BYTES)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidRequest(f"{name} is {value!r}, expected an integer from 1 to {most}")

    def check_size(self, width: int, height: int, name: str) -> None:
        """Raises InvalidImage for an image without pixels or with too many; `name` is for it."""
        if width < 1 or height < 1:
            raise InvalidImage(f"{name} is {width} x {height} pixels: there is nothing to see")
        if width * height > self.pixels:
            raise InvalidImage(
                f"{name} is {width} x {height}, {width * height:,} pixels; at most "
                f"{self.pixels:,} are taken: scale it down"
            )

    def check_bytes(self, size: int, name: str) -> None:
        """Raises InvalidImage for a file that is empty or too long."""
        if not size:
            raise InvalidImage(f"{name} is empty; expected an image file")
        if size > self.file_bytes:
            raise InvalidImage(
                f"{name} has {size:,} bytes; at most {self.file_bytes:,} are taken: scale it "
                "down, or save it as a JPEG"
            )


@dataclass(frozen=True)
class Policy:
    """Where images may come from: paths of this machine, http(s) addresses.

    Bytes, `data:` URLs, PIL images and arrays can always be given.
    """

    local_files: bool = True
    urls: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """An image: `pixels` is uint8 [height, width, 3], RGB, upright and read-only."""

    pixels: NDArray[np.uint8]
    name: str = "image"

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of size and pixels: two images that differ in one pixel have two."""
        sha = hashlib.sha256(f"{self.width} x {self.height} RGB8\n".encode())
        sha.update(self.pixels.data)
        return sha.digest()
