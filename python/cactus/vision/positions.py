"""A tower's table of position embeddings, interpolated for a grid of patches."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

KEPT = 4
"""Grids whose table is kept: that of the tiles, and of the last thumbnails."""


class PositionTable:
    """A table [rows, cols, hidden] of a square grid, for grids of any size.

    Bilinear, corners not aligned, antialiased: where a grid has fewer patches than the table, each
    of its positions is a weighted mean over more than two. Source: torch's `interpolate`.
    """

    def __init__(self, table: F32) -> None:
        self._table = np.ascontiguousarray(table, np.float32)
        self._kept: OrderedDict[tuple[int, int], F32] = OrderedDict()

    def at(self, rows: int, cols: int) -> F32:
        """f32 [rows * cols, hidden], row by row; read-only."""
        found = self._kept.pop((rows, cols), None)
        if found is None:
            high, wide, hidden = self._table.shape
            across = weights(wide, cols) @ self._table  # [high, cols, hidden]
            found = (weights(high, rows) @ across.reshape(high, -1)).reshape(-1, hidden)
            found.setflags(write=False)
        self._kept[rows, cols] = found
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found


def weights(old: int, new: int) -> F32:
    """f32 [new, old]: how much each old position counts in each new one; rows sum to 1."""
    # Torch's own arithmetic in f32: in f64 the last of 125 positions would be 2e-6 apart.
    scale = np.float32(old) / np.float32(new)
    centre = (np.arange(new, dtype=np.float32)[:, None] + np.float32(0.5)) * scale
    apart = np.abs(np.arange(old, dtype=np.float32)[None] - centre + np.float32(0.5))
    parts = np.maximum(np.float32(1) - apart / max(scale, np.float32(1)), np.float32(0))
    shares: F32 = parts / parts.sum(1, keepdims=True)
    return shares
