"""A dual encoder as whoever searches pictures knows it: unit vectors of texts and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call
from cactus.embed.embedder import ModelEmbedder
from cactus.embed.methods import EmbedMethods
from cactus.models.uses import abilities_of, is_dual
from cactus.weights.locate import read_config

if TYPE_CHECKING:
    from cactus.images.picture import Picture


class DualEmbedder(ModelEmbedder):
    """A dual encoder as an `ImageEmbedder` (retrieval/types.py)."""

    def embed_images(
        self, images: Sequence[Picture], *, stop: StopFlag | None = None
    ) -> NDArray[np.float32]:
        """See `ImageEmbedder`. Raises Cancelled once `stop` is set."""
        from cactus.vision.work import Vision

        call = Call()
        if stop is not None:
            call.flag = stop
        work = self._model._work("embed_image", Vision)
        return np.asarray(work.embedding(list(images), True, None, False, None, call).run())


def embedder_around(model: EmbedMethods) -> ModelEmbedder:
    """A model as an embedder, of images, too, where they share a space with texts."""
    return (DualEmbedder if is_dual(model._engine.abilities) else ModelEmbedder)(model)


def load_embedder(folder: Path, threads: int | None = None) -> ModelEmbedder:
    """The embedder in a weights folder, as `embedder_around` makes it; `close` frees that."""
    kind = DualEmbedder if is_dual(abilities_of(read_config(folder))) else ModelEmbedder
    return kind.load(folder, threads)
