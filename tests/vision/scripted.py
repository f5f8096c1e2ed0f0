"""A model that sees, without a model: images are a few numbers, and its tower counts what it does.

An image of so many tiles and so many features each is looked at tile by tile; a feature is the
number of its pixel, so that what a program says depends on what it has truly seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.calls.stop_flag import StopFlag
from cactus.engine.loaded import Loaded
from cactus.errors import Cancelled, InvalidImage
from cactus.model import Model
from cactus.vision.shown import Shown, show
from cactus.vision.sight import Sight
from cactus.vision.work import Vision
from tests.generate.scripted import ByteTokenizer, ScriptedProgram, scripted_engine

IMAGE_TOKEN = 270
"""Its spelling in a prompt is "#", where the template wrote that."""

TEMPLATE = """\
{%- for m in messages %}{{ m.role[0] }}:
{%- if m.content is string %}{{ m.content }}{% else %}
{%- for p in m.content %}{% if p.type == 'image' %}{{ '<image>' }}{% else %}{{ p.text }}{% endif %}
{%- endfor %}{% endif %}{{ '\n' }}{% endfor %}a:"""


@dataclass(frozen=True)
class Drawing:
    """An image: `tiles` rows of pixels, each a number."""

    tiles: tuple[tuple[int, ...], ...]

    @property
    def pixels(self) -> Any:
        return self.tiles

    @property
    def width(self) -> int:
        return len(self.tiles[0])

    @property
    def height(self) -> int:
        return len(self.tiles)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(repr(self.tiles).encode()).digest()


def drawing(seed: int, tiles: int = 1, tokens: int = 5) -> Drawing:
    """Some image."""
    first = 1 + seed * 1000
    return Drawing(
        tuple(tuple(range(first + t * tokens, first + (t + 1) * tokens)) for t in range(tiles))
    )


@dataclass(frozen=True)
class DrawnLayout:
    tile_tokens: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(self.tile_tokens)

    @property
    def grids(self) -> list[tuple[int, int]]:
        return [(2, 2 * size) for size in self.tile_tokens]

    @property
    def text(self) -> str:
        return "[" + "".join(f"{n}" + "#" * size for n, size in enumerate(self.tile_tokens)) + "]"


class DrawnProcessor:
    placeholder, image_token, fingerprint = "<image>", "#", b"drawn"

    def layout(self, width: int, height: int, limits: Any) -> DrawnLayout:
        most = limits if isinstance(limits, int) else height
        return DrawnLayout((width,) * min(height, most))

    def tiles_of(self, picture: Drawing, layout: DrawnLayout) -> Iterator[tuple[int, ...]]:
        yield from picture.tiles[: len(layout.tile_tokens)]


class DrawnDoor:
    """Counts what is measured and what is loaded."""

    def __init__(self) -> None:
        self.measured = self.loaded = 0

    def measure(self, image: Drawing) -> tuple[int, int]:
        self.measured += 1
        return image.width, image.height

    def load(self, image: Drawing) -> Drawing:
        self.loaded += 1
        return image

    def named(self, image: Drawing, error: InvalidImage) -> InvalidImage:
        return error


class DrawnVision(Vision):
    """`looked` are the tiles that were encoded; `during` is called inside, to stop or to fail."""

    def __init__(self, engine: Loaded, budget: int, **options: Any) -> None:
        self.looked: list[tuple[int, ...]] = []
        self.during: Callable[[tuple[int, ...]], object] = lambda tile: None
        self.door = DrawnDoor()
        self.sight = Sight(DrawnProcessor(), IMAGE_TOKEN, self._encode, budget, **options)

    def _encode(self, tile: tuple[int, ...], stop: StopFlag | None) -> NDArray[np.float32]:
        self.during(tile)
        if stop:
            raise Cancelled("stopped within a tile")
        self.looked.append(tile)
        return np.array(tile, np.float32)[:, None]

    def show(
        self,
        conversation: Sequence[Any],
        max_tiles: int | None,
        max_image_tokens: int | None,
        allow_urls: bool,
    ) -> Shown | None:
        images = [image for message in conversation for image in message.images]
        return show(self.sight, images, max_tiles, self.door) if images else None


class SeeingTokenizer(ByteTokenizer):
    """Has a token for an image's features, which only a template can write."""

    def encode_prompt(self, parts: Any) -> list[int]:
        ids: list[int] = []
        for text, special in parts:
            for letter in text:
                token = special and letter == "#"
                ids += [IMAGE_TOKEN] if token else letter.encode()
        return ids


def seeing_model(
    script: Any,
    *,
    budget: int = 1 << 20,
    context: int = 500,
    sight: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Model, Any, DrawnVision]:
    """A model that sees, its program and its eyes."""
    made = scripted_engine(script, context=context, **{"template": TEMPLATE, **options})
    tokenizer: Any = SeeingTokenizer()
    engine = replace(made, tokenizer=tokenizer)
    program: ScriptedProgram = engine.program  # type: ignore[assignment]
    model = Model.from_engine(engine)  # which has no processor to be read
    model._engine = replace(engine, abilities=("chat", "complete", "see"))
    vision = DrawnVision(engine, budget, **(sight or {}))
    model._workers[Vision] = vision
    return model, program, vision


def asked(text: str, *images: Drawing) -> list[dict[str, Any]]:
    """One question about images."""
    return [{"role": "user", "content": text, "images": list(images)}]
