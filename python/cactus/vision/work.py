"""What a model that sees does for its callers: images of conversations, and vectors of images."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from cactus.calls.run import GeneratorRun
from cactus.calls.turns import Call, Turns
from cactus.embed.vectors import Embeddings
from cactus.engine.base import Worker
from cactus.engine.loaded import Loaded
from cactus.errors import ModelFormatError
from cactus.inputs.checks import boolean
from cactus.vision.shown import Shown, show
from cactus.vision.sight import Sight

if TYPE_CHECKING:
    from cactus.chat.messages import Message
    from cactus.progress import Progress

LABEL = "embedding images"
"""What progress is told is being done."""


class Vision(Worker):
    """Looks at the images of conversations. Whoever calls has seen to it that the model can see."""

    def __init__(self, engine: Loaded, turns: Turns, owned: ExitStack) -> None:
        super().__init__(engine, turns, owned)
        from cactus.models.vision import vision_config
        from cactus.vision.encoder import Encoder
        from cactus.vision.processors import Processor

        processor = Processor.of(engine.folder)
        token = engine.tokenizer.token_to_id(processor.image_token)
        if "see" not in engine.abilities:
            token = -1  # images enter no prompt
        if token is None:
            raise ModelFormatError(
                f"the tokenizer of {engine.name} has no token {processor.image_token}, which "
                "stands for images"
            )
        config = vision_config(engine.config)
        assert config is not None, "a model that sees has a tower"
        self._encoder = Encoder(engine, config)
        self.sight = Sight(
            processor,
            token,
            self._encoder.features,
            engine.image_cache_bytes,
            axes=engine.tokens.info.axes > 0,
            factor=config.factor,
            whole=config.blocks,
            patches=config.max_patches,
        )

    def show(
        self,
        conversation: Sequence[Message],
        max_tiles: int | None,
        max_image_tokens: int | None,
        allow_urls: bool,
    ) -> Shown | None:
        """The images of a conversation, of which the sizes are read; None without images.

        Raises InvalidImage naming the message.
        """
        from cactus.vision.door import Doorway, Given
        from cactus.vision.processors import ImageLimits

        images = [
            Given(image, f"messages[{index}].images[{n}]")
            for index, message in enumerate(conversation)
            for n, image in enumerate(message.images)
        ]
        if not images:
            return None
        limits = ImageLimits(max_tiles, max_image_tokens)
        return show(self.sight, images, limits, Doorway(allow_urls))

    def embedding(
        self,
        images: Any,
        normalize: bool | None,
        max_tiles: int | None,
        allow_urls: bool,
        progress: Progress | None,
        call: Call,
    ) -> GeneratorRun[int, Embeddings]:
        """The run that makes vectors of images: of one, or of a list."""
        from cactus.vision.door import Doorway, Given
        from cactus.vision.processors import ImageLimits

        single = not isinstance(images, (list, tuple))
        given = [
            Given(image, "the image" if single else f"images[{n}]")
            for n, image in enumerate([images] if single else images)
        ]
        unit = bool(normalize is not None and boolean("normalize", normalize))
        limits = ImageLimits(max_tiles)
        doorway = Doorway(boolean("allow_image_urls", allow_urls))

        def work() -> Generator[int | None, None, Embeddings]:
            made = np.zeros((len(given), self._encoder.dimensions), np.float32)
            patches: list[int] = []
            for n, image in enumerate(given):
                if progress is not None:
                    progress(LABEL, n, len(given))
                picture = doorway.load(image)
                shown = show(self.sight, [image._replace(source=picture)], limits, doorway)
                total, count = np.zeros(self._encoder.dimensions), 0
                for tile in self.sight.processor.tiles_of(picture, shown.layouts[0]):
                    states = self._encoder.states(tile, call.flag)
                    total += self._encoder.total(states)
                    count += len(states)
                    yield None
                made[n] = total / count / (np.linalg.norm(total / count) if unit else 1)
                patches.append(count)
                yield n
            if progress is not None:
                progress(LABEL, len(given), len(given))
            return Embeddings(made[0] if single else made, patches)

        return GeneratorRun(self._turns, call, work())

    def forget(self) -> None:
        """Forget the features of all images."""
        self.sight.forget()
