"""Activations in 8 bits, or in 12 as two levels of int8, one scale per 32 or 64 columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cactus.graph.ops import GROUPS
from cactus.graph.plan import LEVELS
from cactus.graph.reference_ops import quantized
from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, quantise


@pytest.mark.parametrize("activations", LEVELS)
@pytest.mark.parametrize("case", CASES["quantize"], ids=lambda case: case.id)
def test_formula(case: Case, activations: str) -> None:
    def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
        group = case.attrs["group"]
        codes, scale = quantise(row.x[0], group, activations)
        return codes * np.repeat(scale, group)

    check(case, formula, activations=activations)


@pytest.mark.parametrize("group", GROUPS)
def test_two_levels_of_int8_make_every_code(group: int) -> None:
    draw = np.random.default_rng(1)
    x = (draw.standard_normal((64, 192)) * np.exp(draw.uniform(-9, 9, (64, 1)))).astype(np.float32)
    got = quantized(x, group)
    assert got.scale.shape == (64, 192 // group)
    q = got.q.reshape(64, 24, 2, 4)
    low = (q[..., 0, :] + 128) % 256 - 128
    assert low.min() == -127 and low.max() == 127
    high = np.stack([q[..., 0, :] - low, q[..., 1, :] - 16 * low], axis=3)
    assert (high % 256 == 0).all() and abs(high).max() <= 127 * 256
    # Each group uses its whole range: errors are half a step of 16 units, or one and a half where
    # the shared level would have been -128.
    error = np.abs(got.value() - x).reshape(64, -1, group) / got.scale[..., None]
    assert error.max() <= 24.1 and (error > 8.1).mean() < 0.01


@pytest.mark.parametrize("group", GROUPS)
def test_one_level_is_off_by_half_a_step(group: int) -> None:
    x = np.random.default_rng(2).standard_normal((64, 192)).astype(np.float32)
    got = quantized(x, group, "int8")
    assert np.abs(got.q).reshape(64, -1, group).max(axis=2).min() == 127
    error = np.abs(got.value() - x).reshape(64, -1, group) / got.scale[..., None]
    assert 0.49 < error.max() <= 0.5001


@pytest.mark.parametrize("activations", LEVELS)
def test_zeros_and_the_smallest_numbers(activations: str) -> None:
    x = np.zeros((2, 32), np.float32)
    x[1, 3] = np.float32(1e-45)
    assert (quantized(x, 32, activations).value()[0] == 0).all()
    assert np.isfinite(quantized(x, 32, activations).value()).all()


@pytest.mark.parametrize("activations", LEVELS)
def test_no_rows_are_no_rows(activations: str) -> None:
    none = np.zeros((0, 128), np.float32)
    assert quantized(none, 64, activations).value().shape == (0, 128)
