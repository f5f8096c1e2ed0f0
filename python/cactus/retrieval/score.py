"""Scores that people can read: 0 to 1, and comparable between queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.retrieval.lexical import Terms

FLOOR = 0.25
"""Below it there is no hit."""

_WORDS = 0.4  # what the words of a query say at most, where all are in a passage


class Scale:
    """Scores of the chunks that one query finds.

    Nearly all chunks of an index have nothing to do with a query: the mean of its cosines with all
    of them is what "unrelated" means for this embedder, language and query.
    """

    floor = FLOOR

    def __init__(self, cosines: NDArray[np.float32] | None, terms: Terms) -> None:
        self._unrelated = 0.0 if cosines is None else float(cosines.mean())

    def score(self, cosine: float | None, share: float) -> float:
        """The score of a chunk by its cosine and the share of the query's words in it."""
        if cosine is None:
            return share
        meaning = max(0.0, (cosine - self._unrelated) / (1 - min(self._unrelated, 0.9)))
        return min(1.0, meaning + _WORDS * share * (1 - meaning))
