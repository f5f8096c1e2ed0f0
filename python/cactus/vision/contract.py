"""What this room needs of a family's processor, and of whoever brings images in.

The processors of `vision/processors/` fit these protocols, and so does the drawn one of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from cactus.errors import InvalidImage


class Layout(Protocol):
    """How an image of some size is looked at: known before a pixel is decoded.

    `tile_tokens`: how many features each tile has, in the order of the prompt, `grids`: how many
    patches, in rows and columns; `text`: what stands
    for the image in a prompt, with the image token's text once for each of them.
    """

    @property
    def tokens(self) -> int: ...
    @property
    def tile_tokens(self) -> Sequence[int]: ...
    @property
    def grids(self) -> Sequence[tuple[int, int]]: ...
    @property
    def text(self) -> str: ...


class Picture(Protocol):
    """The pixels of an image; `digest` differs for images that differ in one of them."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def digest(self) -> bytes: ...


class Processor(Protocol):
    """How a family makes tiles of images.

    `placeholder` is what its chat template writes for an image, `image_token` the text of the token
    that a feature stands for, `fingerprint` tells its settings from others.
    """

    @property
    def placeholder(self) -> str: ...
    @property
    def image_token(self) -> str: ...
    @property
    def fingerprint(self) -> bytes: ...
    def layout(self, width: int, height: int, limits: Any, /) -> Any: ...
    def tiles_of(self, picture: Any, layout: Any, /) -> Iterator[Any]: ...


class Door(Protocol):
    """What images come in by: `measure` reads no more than tells (width, height)."""

    def measure(self, source: Any, /) -> tuple[int, int]: ...
    def load(self, source: Any, /) -> Picture: ...
    def named(self, source: Any, error: InvalidImage, /) -> InvalidImage:
        """The error with the place of the image."""
        ...
