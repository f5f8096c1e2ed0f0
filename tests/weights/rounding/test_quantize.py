"""The quantisers: error bounds, exact cases, extreme values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cactus.weights.format.tiles import dequantize_q4, dequantize_q8
from cactus.weights.rounding.quantize import quantize_q4, quantize_q8

# Widths and magnitudes of weights, outliers, zeros, and what barely fits f16.
_matrices = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.sampled_from([64, 192])),
    elements=st.one_of(
        st.floats(-1, 1, width=32),
        st.floats(-30000, 30000, width=32),
        st.sampled_from([0.0, -0.0, 1e-30, 1e-7, 65504.0, -65504.0]),
    ),
)


def relative_rms(stored: Any, values: Any) -> float:
    return float(np.linalg.norm(stored - values) / np.linalg.norm(values))


@pytest.mark.parametrize("group", [32, 64])
@given(values=_matrices)
def test_q8_is_within_half_a_step(group: int, values: Any) -> None:
    codes, scales = quantize_q8(values, group)
    error = np.abs(dequantize_q8(codes, scales) - values).reshape(*scales.shape, group)
    # Half a step, and what rounding the scale to f16 moves at code 127.
    step = scales.astype(np.float32)[..., None]
    assert (error <= step * 0.57 + 127 * 2.0**-25).all()
    assert codes.min() >= -127


@pytest.mark.parametrize("group", [32, 64])
@given(values=_matrices)
def test_q4_is_within_a_step_and_never_worse_than_plain_rounding(group: int, values: Any) -> None:
    found = dequantize_q4(*quantize_q4(values, group)).reshape(-1, group)
    plain = dequantize_q4(*quantize_q4(values, group, search=False)).reshape(-1, group)
    groups = values.reshape(-1, group)
    assert np.isfinite(found).all()
    span = groups.max(axis=1) - groups.min(axis=1)
    largest = np.abs(groups).max(axis=1)
    # Half a step of span / 15, and f16's rounding of minimum and scale.
    bound = span / 30 * 1.01 + largest * 2.0**-9 + 16 * 2.0**-25
    assert (np.abs(plain - groups).max(axis=1) <= bound).all()
    worse = np.linalg.norm(found - groups, axis=1) - np.linalg.norm(plain - groups, axis=1)
    assert (worse <= 1e-5 * largest).all()


@pytest.mark.parametrize("group", [32, 64])
@given(
    values=_matrices,
    weights=hnp.arrays(
        np.float32,
        192,
        elements=st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1e-20, 1e6])),
    ),
)
def test_weighted_q4_is_never_worse_than_plain_rounding(
    group: int, values: Any, weights: Any
) -> None:
    weights = weights[: values.shape[1]]
    errors = []
    for search in (True, False):
        codes = quantize_q4(values, group, weights=weights, search=search)
        error = np.square(dequantize_q4(*codes) - values, dtype=np.float64) * weights
        errors.append(np.sqrt(error.reshape(-1, group).sum(axis=1)))
    largest = np.abs(values).max() * np.sqrt(weights.max())
    assert (errors[0] <= errors[1] + 1e-5 * largest).all()


def test_weights_say_which_errors_count() -> None:
    random = np.random.default_rng(6)
    values = random.normal(0, 0.02, (64, 256)).astype(np.float32)
    weights = np.exp(random.normal(0, 2, 256)).astype(np.float32)
    even, fitted = (
        np.square(dequantize_q4(*quantize_q4(values, 64, weights=w)) - values)
        for w in (None, weights)
    )
    assert (fitted @ weights).sum() < 0.8 * (even @ weights).sum()
    assert even.sum() < fitted.sum()
    same = quantize_q4(values, 64, weights=np.full(256, 7, np.float32))
    for got, want in zip(same, quantize_q4(values, 64), strict=True):
        np.testing.assert_array_equal(got, want)


def test_errors_on_weights_as_they_are() -> None:
    """Normal weights of width 0.02; the bounds are what is measured, rounded up."""
    values = np.random.default_rng(0).normal(0, 0.02, (256, 1024)).astype(np.float32)
    for group, found, plain, eight in ((32, 0.0705, 0.078, 0.0055), (64, 0.0818, 0.089, 0.0061)):
        assert relative_rms(dequantize_q4(*quantize_q4(values, group)), values) < found
        wide = quantize_q4(values, group, search=False)
        assert relative_rms(dequantize_q4(*wide), values) > plain
        assert relative_rms(dequantize_q8(*quantize_q8(values, group)), values) < eight


@pytest.mark.parametrize("group", [32, 64])
def test_what_four_bits_can_say_is_kept(group: int) -> None:
    codes = np.random.default_rng(1).integers(0, 16, (8, 128), np.uint8)
    codes[:, ::group], codes[:, 1::group] = 0, 15
    values = (codes * np.float32(0.125) - np.float32(0.75)).astype(np.float32)
    assert np.array_equal(dequantize_q4(*quantize_q4(values, group)), values)


@pytest.mark.parametrize("group", [32, 64])
def test_constant_groups(group: int) -> None:
    for constant in (0.0, 0.5, -3.0, 1e-8, -65504.0):
        values = np.full((2, group), constant, np.float32)
        stored = dequantize_q4(*quantize_q4(values, group))
        assert np.allclose(stored, values, rtol=1e-3, atol=1e-7)
    zeros = np.zeros((2, group), np.float32)
    assert np.array_equal(dequantize_q8(*quantize_q8(zeros, group)), zeros)


@pytest.mark.parametrize("value", [65520.0, -65536.0, 1e30])
def test_beyond_f16(value: float) -> None:
    values = np.zeros((1, 32), np.float32)
    values[0, 3] = value
    if value < 0 or value > 1e6:
        with pytest.raises(OverflowError, match="does not fit f16"):
            quantize_q4(values)
    values *= 127
    with pytest.raises(OverflowError, match="does not fit f16"):
        quantize_q8(values)
