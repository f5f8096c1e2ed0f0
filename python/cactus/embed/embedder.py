"""An embedder as whoever searches texts knows it: unit vectors of queries and documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cactus.calls.closing import Closing
from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call
from cactus.compat import Self
from cactus.embed.methods import EmbedMethods
from cactus.embed.work import TextWork
from cactus.engine.loading import load
from cactus.progress import Progress

Kind = Literal["query", "document"]


class ModelEmbedder(Closing):
    """A model as an `Embedder` (retrieval/types.py); any thread may use it, beside other calls.

    It uses a model that somebody else holds; `load` makes one of its own, which `close` frees.
    Errors are those of ``Model.embed``.
    """

    def __init__(self, model: EmbedMethods) -> None:
        self._model, self._owned = model, False
        work = self._work
        self.name = work.encoder.loaded.name
        self.fingerprint = work.encoder.fingerprint
        self.dimensions = work.encoder.dimensions
        self.max_tokens = work.encoder.reader.limit

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> Self:
        """The embedder in a weights folder. Raises what ``Model`` raises."""
        model = EmbedMethods.around(load(folder, threads=threads))
        try:
            made = cls(model)
        except BaseException:
            model.close()
            raise
        made._owned = True
        return made

    def embed(
        self,
        texts: Sequence[str],
        kind: Kind,
        progress: Progress | None = None,
        stop: StopFlag | None = None,
    ) -> NDArray[np.float32]:
        """See `Embedder`. Raises Cancelled once `stop` is set."""
        call = Call()
        if stop is not None:
            call.flag = stop
        options = {"prompt": kind, "normalize": True, "truncate": True}
        return np.asarray(self._work.embedding(list(texts), options, progress, call).run())

    def token_offsets(self, text: str) -> NDArray[np.int64]:
        """See `Embedder`."""
        return np.asarray(self._work.encoder.loaded.tokenizer.offsets(text), np.int64)

    def close(self) -> None:
        """Free a model of its own."""
        if self._owned:
            self._model.close()

    @property
    def _work(self) -> TextWork:
        return self._model._texts("embed")
