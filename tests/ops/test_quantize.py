"""15-bit activations in two levels of int8, one scale per 32 columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cactus.graph.reference_ops import quantized
from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, quantise


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    high, low, scale = quantise(row.x[0])
    return (128.0 * high + low) * np.repeat(scale, 32)


@pytest.mark.parametrize("case", CASES["quantize"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)


def test_levels_fit_int8_and_add_up() -> None:
    draw = np.random.default_rng(1)
    x = (draw.standard_normal((64, 96)) * np.exp(draw.uniform(-9, 9, (64, 1)))).astype(np.float32)
    got = quantized(x)
    assert got.high.dtype == got.low.dtype == np.int8
    high, low = got.high.astype(int), got.low.astype(int)
    np.testing.assert_array_equal(128 * high + low, got.q)
    assert abs(high).max() == 127 and low.min() >= -64 and low.max() <= 63
    # Every group uses the whole range, so the error is at most half a step of it.
    assert (abs(got.q.reshape(64, 3, 32)).max(axis=2) == 16256).all()
    assert (abs(got.value() - x).reshape(64, 3, 32) <= 0.51 * got.scale[..., None]).all()


def test_zeros_and_the_smallest_numbers() -> None:
    x = np.zeros((2, 32), np.float32)
    x[1, 3] = np.float32(1e-45)
    assert (quantized(x).value()[0] == 0).all()
    assert np.isfinite(quantized(x).value()).all()
