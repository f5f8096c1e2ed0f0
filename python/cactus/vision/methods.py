"""The methods of `Model` that make vectors of images: the public form of what `Vision` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cactus import embed as arrays
from cactus.calls.aio import in_loop, run_alone
from cactus.calls.turns import Call
from cactus.engine.base import ModelBase
from cactus.models.abilities import Ability
from cactus.progress import Progress, chosen_progress

if TYPE_CHECKING:
    from cactus.vision.work import Vision


class VisionMethods(ModelBase):
    """The methods of a model that looks at images."""

    def embed_image(
        self,
        images: Any,
        *,
        normalize: bool | None = None,
        max_tiles: int | None = None,
        allow_image_urls: bool = False,
        progress: Progress | bool | None = None,
    ) -> arrays.Embeddings:
        """The vectors of images, float32: [dimensions] of one, [images, dimensions] of a list.

        An image is a path, the bytes of a file, a ``data:`` URL, a PIL image or an array of pixels;
        a web address, too, with `allow_image_urls`. Of a model that chats, the vector is the mean
        of its encoder's last states over all patches of all tiles, as many as a chat looks at or
        `max_tiles`. `normalize`: whether it has length 1; None as the checkpoint has it. `progress`
        is told how many images are done. ``.tokens`` of the result are how many patches each has.

        Raises InvalidImage naming the image, UnsupportedModel, Cancelled after `stop`,
        ReentrantCall, ModelClosed.
        """
        options = (normalize, max_tiles, allow_image_urls)
        return self._embed_image(images, options, progress, Call())

    async def aembed_image(
        self,
        images: Any,
        *,
        normalize: bool | None = None,
        max_tiles: int | None = None,
        allow_image_urls: bool = False,
        progress: Progress | bool | None = None,
    ) -> arrays.Embeddings:
        """`embed_image` in a thread of its own; cancelling the task stops it."""
        options, shown = (normalize, max_tiles, allow_image_urls), in_loop(progress)
        return await run_alone(lambda call: self._embed_image(images, options, shown, call))

    def _embed_image(
        self,
        images: Any,
        options: tuple[bool | None, int | None, bool],
        progress: Progress | bool | None,
        call: Call,
    ) -> arrays.Embeddings:
        work = self._vision("embed_image")
        with chosen_progress(progress, "images") as shown:
            return work.embedding(images, *options, shown, call).run()

    def _vision(self, ability: Ability) -> Vision:
        from cactus.vision.work import Vision

        return self._work(ability, Vision)
