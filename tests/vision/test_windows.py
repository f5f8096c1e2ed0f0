"""The windows of a tile: each patch beside those of its window, wherever the tile ends."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.vision.windows import by_window


@pytest.mark.parametrize("grid", [(4, 4), (6, 10), (2, 30), (9, 1)])
def test_the_patches_of_a_window_lie_side_by_side(grid: tuple[int, int]) -> None:
    places = np.indices(grid, np.int32).reshape(2, -1).T
    order, found = by_window(4, places)
    assert sorted(order) == list(range(len(places))) and found.dtype == np.int32
    assert (found[:, :2] == places[order]).all()
    windows = [(row // 4, col // 4) for row, col in found[:, :2]]
    borders = np.flatnonzero(np.diff(found[:, 2])) + 1
    assert len(borders) + 1 == len(set(windows))
    for part in np.split(np.array(windows), borders):
        assert (part == part[0]).all()
