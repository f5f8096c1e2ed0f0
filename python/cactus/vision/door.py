"""What the images of one request come in by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from cactus.errors import InvalidImage
from cactus.images import door
from cactus.images.picture import Limits, Picture, Policy


class Given(NamedTuple):
    """An image as the caller gave it, and where: ``messages[1].images[0]``."""

    source: Any
    name: str


class Doorway:
    """Measures and loads what was given; its errors begin with the place. `urls`: addresses, too.

    What has to be fetched is fetched once, to be measured.
    """

    def __init__(self, urls: bool = False) -> None:
        self._limits, self._policy = Limits(), Policy(urls=urls)
        self._fetched: dict[str, Picture] = {}

    def measure(self, given: Given) -> tuple[int, int]:
        """Width and height, of which a file's header tells. Raises InvalidImage."""
        source = given.source
        if isinstance(source, str) and source[:5].lower() in ("http:", "https"):
            self._fetched[source] = self.load(given)
            return self._fetched[source].width, self._fetched[source].height
        try:
            return door.measure(source, self._limits, self._policy)
        except InvalidImage as error:
            raise self.named(given, error) from None

    def load(self, given: Given) -> Picture:
        """The pixels. Raises InvalidImage."""
        source = given.source
        if isinstance(source, str) and source in self._fetched:
            return self._fetched[source]
        try:
            return door.load(source, self._limits, self._policy)
        except InvalidImage as error:
            raise self.named(given, error) from None

    def named(self, given: Given, error: InvalidImage) -> InvalidImage:
        """The error behind the place of the image, or the file that it was loaded from."""
        source = given.source
        of_file = isinstance(source, Picture) and source.name.endswith('"')
        error.args = (f"{source.name if of_file else given.name}: {error}", *error.args[1:])
        return error


def kept_images(images: Sequence[Any]) -> list[Any]:
    """Images as they are now: a file's bytes for its path or object, pixels for what could change.

    What is no image stays what it is: whoever asks about it says what is wrong with it.
    """
    kept = []
    for image in images:
        if isinstance(image, os.PathLike):
            image = os.fsdecode(image)
        if isinstance(image, str):
            image = _file_bytes(image) or image
        elif door.is_file_object(image):
            with suppress(InvalidImage):
                image = door.read_object(image, Limits())
        elif isinstance(image, (bytearray, memoryview)):
            image = bytes(image)
        elif hasattr(type(image), "__array_interface__"):
            image = door.load(image)
        kept.append(image)
    return kept


def _file_bytes(path: str) -> bytes | None:
    """What is in an image file that can be read; None for an address, and for no such file."""
    try:
        door.measure(path)
        return door.read_path(path, Limits())[0]
    except InvalidImage:
        return None
