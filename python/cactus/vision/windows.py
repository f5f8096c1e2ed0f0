"""The windows of a tile: squares of patches that see each other, where a tower has such layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def by_window(size: int, places: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The order in which the patches of each window lie side by side, and their places in it.

    `places` are row and column of each patch, int32 [patches, 2]; a window has `size` patches a
    side, fewer at the right and at the bottom. Those returned have its number as the third.
    Source: Qwen2.5-VL.
    """
    rows, cols = places.T // size
    windows = rows * (cols.max() + 1) + cols
    order = np.argsort(windows, kind="stable")
    return order, np.ascontiguousarray(np.column_stack([places, windows])[order], np.int32)
