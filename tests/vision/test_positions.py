"""The table of position embeddings, as torch's `interpolate` makes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus.vision.positions import PositionTable, weights

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "positions.npz"
GRIDS = ((1, 1), (3, 5), (16, 16), (32, 32), (7, 40), (2, 125), (125, 1), (24, 42))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_is_as_torch_makes_it(
    grid: tuple[int, int], golden: dict[str, np.ndarray]
) -> None:
    found = PositionTable(golden["table"]).at(*grid)
    wanted = golden[f"{grid[0]}x{grid[1]}"]
    assert found.dtype == np.float32 and found.shape == (grid[0] * grid[1], 4)
    assert np.abs(found - wanted).max() <= 1e-6


def test_the_table_itself_comes_back(golden: dict[str, np.ndarray]) -> None:
    table = golden["table"]
    assert np.array_equal(PositionTable(table).at(16, 16), table.reshape(256, -1))


def test_every_position_is_a_mean() -> None:
    for new in range(1, 70):
        assert np.abs(weights(16, new).sum(1) - 1).max() < 1e-6
        assert (weights(16, new) > 0).any(0).all()  # no part of the table is left out


def test_a_grid_is_made_once_and_few_are_kept(golden: dict[str, np.ndarray]) -> None:
    table = PositionTable(golden["table"])
    first = table.at(32, 32)
    for n in range(1, 20):
        table.at(n, n + 1)
        assert table.at(32, 32) is first
    assert len(table._kept) == 4
    assert not first.flags.writeable
