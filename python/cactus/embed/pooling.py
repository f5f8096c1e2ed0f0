"""From the states of a text's tokens to one vector."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cactus.graph.step import Outputs

F32 = NDArray[np.float32]

Pooling = Literal["mean", "cls", "last", "max", "mean_sqrt_len"]
KINDS: tuple[str, ...] = get_args(Pooling)


class Pool:
    """The vector of one text, whose states come in one piece or several.

    "mean" of the states, "cls": the first one, "last": the last one, "max" of each number,
    "mean_sqrt_len": the sum over the square root of how many there are. The vector of no states at
    all is zero.
    """

    def __init__(self, kind: Pooling, width: int) -> None:
        self._kind, self._count = kind, 0
        self._value: F32 = np.zeros(width, np.float32)

    def wanted(self, last: bool) -> Outputs:
        """What `add` needs of the next tokens of the text; `last`: none come after them."""
        if self._kind == "cls":
            return "none" if self._count else "first"
        if self._kind == "last":
            return "last" if last else "none"
        return "all" if self._kind == "max" else "sum"

    def add(self, count: int, states: F32) -> None:
        """The next `count` tokens: of their states what was wanted, [rows, width], in order."""
        if self._kind == "max":
            most = states.max(axis=0)
            self._value = np.maximum(self._value, most) if self._count else most
        elif len(states):
            self._value = self._value + states[0]
        self._count += count

    def vector(self) -> F32:
        """[width], of all states. It is asked for once."""
        count = max(self._count, 1)
        if self._kind == "mean":
            self._value /= np.float32(count)
        if self._kind == "mean_sqrt_len":
            self._value /= np.sqrt(np.float32(count))
        return self._value


def unit(vectors: F32) -> F32:
    """The vectors, [count, width], at length 1; a zero vector stays zero."""
    wide = vectors.astype(np.float64)
    length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return (wide / np.where(length == 0, 1, length)).astype(np.float32)
