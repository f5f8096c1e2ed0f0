"""What an index is made with where it is searched by words alone, and no embedder is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag

_PIECES = re.compile(r"\w{1,4}|[^\w\s]")
"""About as long as the tokens of encoders, so that chunks are as long as with one of them."""


class WordsOnly:
    """An `Embedder` (retrieval/types.py) whose vectors have no values."""

    name = "words alone"
    fingerprint = "words alone 1"
    dimensions = 0
    max_tokens = 256

    def embed(
        self,
        texts: Sequence[str],
        kind: Literal["query", "document"],
        *,
        stop: StopFlag | None = None,
    ) -> NDArray[np.float32]:
        """An array [n, 0]."""
        import numpy as np

        return np.empty((len(texts), 0), np.float32)

    def token_offsets(self, text: str) -> Sequence[int]:
        """See `Embedder`."""
        return [match.start() for match in _PIECES.finditer(text)]
