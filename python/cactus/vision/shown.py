"""The images of a conversation on their way into a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from cactus.errors import InvalidImage, TemplateError
from cactus.vision.gaze import PromptImage, Sights, place, positions_of

if TYPE_CHECKING:
    from cactus.chat.traced import Part
    from cactus.progress import Progress
    from cactus.vision.contract import Door, Layout, Picture
    from cactus.vision.sight import Sight


@dataclass(frozen=True, slots=True)
class Opened:
    """An image of a request: how it is looked at, and what its pixels come from.

    `held` are these pixels, where there is memory to keep them until they are looked at.
    """

    image: Any
    door: Door
    key: bytes
    layout: Layout
    held: Picture | None

    def tiles(self, sight: Sight) -> Iterator[Any]:
        """Its tiles, one after another. Raises InvalidImage."""
        picture = self.held or self.door.load(self.image)
        if sight.key(picture, self.layout) != self.key:
            raise InvalidImage("an image has changed since it was asked about; ask again")
        return sight.processor.tiles_of(picture, self.layout)


@dataclass(frozen=True, slots=True)
class Shown:
    """The images of a conversation, in order, of which their sizes are known: `layouts`."""

    sight: Sight
    images: Sequence[Any]
    limits: Any
    door: Door
    layouts: Sequence[Layout]

    @property
    def tokens(self) -> int:
        """Features of all images."""
        return sum(layout.tokens for layout in self.layouts)

    @property
    def tiles(self) -> int:
        """Tiles of all images."""
        return sum(len(layout.tile_tokens) for layout in self.layouts)

    @property
    def cost(self) -> str:
        """What its images take of a prompt that is too long, and what to do: a part of an error."""
        if not self.images:
            return ""
        several = f"{len(self.images)} images" if len(self.images) > 1 else "an image"
        tiles = f"{self.tiles} tiles" if self.tiles > 1 else "one tile"
        return (
            f"; {self.tokens} of them are {several} in {tiles}: give max_tiles or "
            "max_image_tokens, fewer or smaller images"
        )

    def expand(self, parts: Sequence[Part]) -> list[Part]:
        """A rendered prompt with what stands for each image where the template has its place.

        Only what the template itself wrote is such a place: a text that says the same stays text.
        Raises TemplateError where there is not one place for each image.
        """
        placeholder = self.sight.processor.placeholder
        places = sum(part.text.count(placeholder) for part in parts if part.special)
        if places != len(self.layouts):
            raise TemplateError(
                f"the messages have {len(self.layouts)} images, and the chat template writes "
                f"{placeholder} {places} times: it may show no images in messages of some role"
            )
        texts = iter([layout.text for layout in self.layouts])
        expanded = []
        for part in parts:
            if part.special and placeholder in part.text:
                first, *rest = part.text.split(placeholder)
                part = part._replace(
                    text="".join(chain([first], *([next(texts), text] for text in rest)))
                )
            expanded.append(part)
        return expanded

    def check(self, prompt: Sequence[int]) -> None:
        """Raises TemplateError where a prompt of tokens has not one for each feature."""
        found = prompt.count(self.sight.token)
        if found != self.tokens:
            raise TemplateError(
                f"the prompt has {found} tokens {self.sight.processor.image_token}, and its images "
                f"have {self.tokens} features: the tokenizer and the processor's settings do not "
                "belong together"
            )

    def open(
        self, prompt: Sequence[int], progress: Progress | None = None
    ) -> tuple[list[int], Sights]:
        """The prompt with the ids of features, and what a request needs to look at its images.

        Pixels are decoded here. Raises InvalidImage.
        """
        self.check(prompt)
        images = [
            self._open(image, layout)
            for image, layout in zip(self.images, self.layouts, strict=True)
        ]
        sight = self.sight
        ids, spans = place(prompt, sight.token, images)
        positions = positions_of(len(ids), spans, sight.factor) if sight.axes else None
        return ids, Sights(spans, sight, progress, positions, sight.whole)

    def _open(self, image: Any, layout: Layout) -> PromptImage:
        picture, sight = self.door.load(image), self.sight
        found = sight.layout(picture.width, picture.height, self.limits)
        if found.text != layout.text:
            raise InvalidImage(
                f"an image has changed while it was read: it is {picture.width} x "
                f"{picture.height} now; ask again"
            )
        sizes, key = tuple(layout.tile_tokens), sight.key(picture, layout)
        held = picture if sight.may_hold(picture) else None
        opened = Opened(image, self.door, key, layout, held)
        return PromptImage(key, sight.number(key, sum(sizes)), sizes, tuple(layout.grids), opened)


def show(sight: Sight, images: Sequence[Any], limits: Any, door: Door) -> Shown:
    """The images of a conversation, of which no pixel is decoded yet. Raises InvalidImage."""
    found = []
    for image in images:
        size = door.measure(image)
        try:
            found.append(sight.layout(*size, limits))
        except InvalidImage as error:
            raise door.named(image, error) from None
    return Shown(sight, images, limits, door, found)
