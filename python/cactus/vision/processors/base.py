"""What a processor is: sizes to a layout by arithmetic alone, and pixels to tiles, one by one."""

from __future__ import annotations

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.errors import InvalidImage, InvalidRequest, ModelFormatError
from cactus.inputs.fields import Fields
from cactus.inputs.files import find_json, read_json

if TYPE_CHECKING:
    from cactus.images.picture import Picture
    from cactus.vision.processors.pixels import Pixels, Tile

FAMILIES = {
    "lfm2_vl": "lfm2_vl",
    "idefics3": "idefics3",
    "smolvlm": "idefics3",
    "qwen2_vl": "qwen_vl",
    "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "qwen_vl",
    "gemma3": "gemma3",
    "clip": "dual",
    "siglip": "dual",
    "siglip2": "dual",
}
"""The file of each model_type."""


@dataclass(frozen=True)
class ImageLimits:
    """How much of an image a caller wants seen; None: as much as the model's own settings say.

    `max_tiles`: tiles of the grid, a thumbnail of the whole not counted. `max_image_tokens`: image
    features in all. Raises InvalidRequest.
    """

    max_tiles: int | None = None
    max_image_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_tiles", "max_image_tokens"):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, int) or isinstance(value, bool) or value < 1
            ):
                raise InvalidRequest(f"{name} is {value!r}, expected an integer from 1")


@dataclass(frozen=True)
class Layout:
    """How an image is seen, known from its size alone.

    `grid`: rows and columns of tiles. `grids`: rows and columns of patches of each tile, a
    thumbnail being the last one, and `tile_tokens` its features, both in the order in which they
    enter the prompt. `scaled`: the sizes (width, height) to which the image is scaled, one after
    another. `text`: what stands for the image in the prompt, with the image token once a feature.
    """

    width: int
    height: int
    grid: tuple[int, int]
    grids: tuple[tuple[int, int], ...]
    tile_tokens: tuple[int, ...]
    scaled: tuple[tuple[int, int], ...]
    text: str

    @property
    def tiles(self) -> int:
        """What the tower sees, one after another: tiles, and a thumbnail."""
        return len(self.grids)

    @property
    def tokens(self) -> int:
        """Image features in all."""
        return sum(self.tile_tokens)


class Processor(ABC):
    """A family's way to see an image. Subclasses are frozen dataclasses of all their settings."""

    placeholder: str
    """What the chat template writes for an image."""
    image_token: str
    """The text of the token that stands for one image feature."""
    pixels: Pixels

    @staticmethod
    def of(folder: Path | str) -> Processor:
        """The processor of a weights folder. Raises ModelFormatError and UnsupportedModel."""
        folder = Path(folder)
        files = [
            find_json(folder / name) or {}
            for name in ("preprocessor_config.json", "processor_config.json")
        ]
        return Processor.make(read_json(folder / "config.json"), *files)

    @staticmethod
    def make(
        config: Mapping[str, Any],
        preprocessor: Mapping[str, Any],
        processor: Mapping[str, Any],
    ) -> Processor:
        """The processor of the three files config.json, preprocessor_ and processor_config.json.

        Of a setting in several places, the one that `image_processor` in the last file has counts.
        """
        kind = Fields(config).choice("model_type", list(FAMILIES))
        inner = Fields(processor, "processor_config.json").object("image_processor")
        nested = {} if inner is None else inner.raw
        own = {key: value for key, value in processor.items() if not isinstance(value, Mapping)}
        settings = Fields({**preprocessor, **own, **nested}, "preprocessor_config.json")
        file = importlib.import_module(f"cactus.vision.processors.{FAMILIES[kind]}")
        made: Processor = file.make(settings, Fields(config))
        return made

    @property
    def fingerprint(self) -> bytes:
        """A digest of all settings: two that see an image in different ways have two."""
        return hashlib.sha256(repr(self).encode()).digest()

    @abstractmethod
    def layout(self, width: int, height: int, limits: ImageLimits | None = None) -> Layout:
        """How an image of that size is seen. Raises InvalidImage where it cannot be."""

    @abstractmethod
    def tiles_of(self, picture: Picture, layout: Layout) -> Iterator[Tile]:
        """The tiles of an image, each made when it is asked for."""


def refuse(width: int, height: int, patches: int, most: int) -> InvalidImage:
    """The error for an image that would have too many patches whatever is done."""
    return InvalidImage(
        f"an image of {width} x {height} pixels has {patches:,} patches in one tile, and the model "
        f"takes {most:,}: it is too long for its width; crop it"
    )


def beyond(tokens: int, tiles: int, limits: ImageLimits) -> InvalidImage:
    """The error for an image that needs more than a caller allows, however small it is made."""
    return InvalidImage(
        f"the image needs at least {tokens:,} tokens in {tiles:,} tile{'s' * (tiles > 1)}, and "
        f"max_image_tokens is {limits.max_image_tokens:,}"
    )


def edge_of(settings: Fields, name: str, edge: str, default: int) -> int:
    """A number of pixels: `settings[name][edge]`, or `settings[name]` where that is a number."""
    value = settings.raw.get(name)
    if isinstance(value, Mapping):
        return Fields(value, f"{settings.where}: {name}").integer(edge, 1, 1 << 30, default)
    return settings.integer(name, 1, 1 << 30, default)


def same_side(settings: Fields, vision: Fields, side: int) -> None:
    """ModelFormatError where the tower is for squares of another side than the processor makes."""
    said = vision.integer("image_size", 1, 1 << 16, side)
    if said != side:
        raise ModelFormatError(
            f"{settings.where}: images become squares of {side} pixels, but config.json's "
            f"vision_config has image_size {said}"
        )
