"""A tower's table of position embeddings, interpolated for a grid of patches."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

Interpolation = Literal["antialiased", "corners", "nearest"]

KEPT = 4
"""Grids whose table is kept: that of the tiles, and of the last thumbnails."""


class PositionTable:
    """A table [rows, cols, hidden] of a square grid, for grids of any size.

    "antialiased": bilinear, corners not aligned; where a grid has fewer patches than the table,
    each of its positions is a weighted mean over more than two. Source: torch's `interpolate`.
    "corners": bilinear between the two nearest, the corners of both grids in one place. "nearest":
    the one whose part of the image the patch begins in.
    """

    def __init__(self, table: F32, kind: Interpolation = "antialiased") -> None:
        self._table = np.ascontiguousarray(table, np.float32)
        self._weights = {"antialiased": weights, "corners": _corners, "nearest": _nearest}[kind]
        self._kept: OrderedDict[tuple[int, int], F32] = OrderedDict()

    def at(self, rows: int, cols: int) -> F32:
        """f32 [rows * cols, hidden], row by row; read-only."""
        found = self._kept.pop((rows, cols), None)
        if found is None:
            high, wide, hidden = self._table.shape
            across = self._weights(wide, cols) @ self._table  # [high, cols, hidden]
            found = (self._weights(high, rows) @ across.reshape(high, -1)).reshape(-1, hidden)
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


def _corners(old: int, new: int) -> F32:
    """As `weights`. Source: transformers' Qwen3-VL."""
    places = np.arange(new, dtype=np.float32) * np.float32(old - 1) / np.float32(max(new - 1, 1))
    apart = np.abs(np.arange(old, dtype=np.float32)[None] - places[:, None])
    shares: F32 = np.maximum(np.float32(1) - apart, np.float32(0))
    return shares


def _nearest(old: int, new: int) -> F32:
    """As `weights`: a single 1 in each row. Source: transformers' Idefics3, which has buckets."""
    places = np.minimum(np.arange(new, dtype=np.float32) * np.float32(1 / new), 1 - 1e-6)
    edges = np.arange(1 / old, 1.0, 1 / old).astype(np.float32)
    shares: F32 = np.eye(old, dtype=np.float32)[np.searchsorted(edges, places, side="right")]
    return shares
