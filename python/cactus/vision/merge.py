"""States to the rows that become image features: what happens between tower and projector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cactus.models.vision import VisionConfig

F32 = NDArray[np.float32]


def merge(vision: VisionConfig, states: F32, grid: tuple[int, int]) -> F32:
    """The states ``[rows * cols, hidden]`` of a tile, as the projector takes them.

    Squares of ``factor`` by ``factor`` states become one row, from left to right and downwards; in
    it they lie row by row, or it is their mean. ``grid`` is how many rows and columns the tile has;
    both are multiples of the factor.
    """
    if vision.merging == "in order":
        return states.reshape(-1, vision.projector_width)
    (rows, cols), factor = grid, vision.factor
    squares = states.reshape(rows // factor, factor, cols // factor, factor, -1).swapaxes(1, 2)
    if vision.merging == "mean":
        squares = squares.mean(axis=(2, 3), dtype=np.float32)
    return np.ascontiguousarray(squares, np.float32).reshape(-1, vision.projector_width)
