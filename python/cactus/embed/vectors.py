"""The vectors of texts, as what they are: an array that knows what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.compat import Self


class Embeddings(np.ndarray[Any, np.dtype[np.float32]]):
    """The vectors of texts: float32 [texts, dimensions], or [dimensions] of a single one.

    `tokens` are how many tokens of each text were read, special ones and prompts included.
    `truncated` are the indices of the texts of which only the beginning was read. Slices, copies
    and results of arithmetic are arrays without either.
    """

    tokens: tuple[int, ...]
    truncated: tuple[int, ...]

    def __new__(
        cls, values: NDArray[np.float32], tokens: Sequence[int], truncated: Sequence[int] = ()
    ) -> Self:
        made = values.view(cls)
        made.tokens, made.truncated = tuple(tokens), tuple(truncated)
        return made

    def __array_finalize__(self, other: object) -> None:
        self.tokens, self.truncated = (), ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (np.asarray(self), self.tokens, self.truncated)


def _restore(values: NDArray[np.float32], tokens: Any, truncated: Any) -> Embeddings:
    return Embeddings(values, tokens, truncated)
