"""Rounding with feedback: its loss is what it says, less than plain rounding's, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.weights.format.tiles import dequantize_q4
from cactus.weights.rounding.compensate import (
    DAMPING,
    REACH,
    feedback,
    quantize_with_feedback,
    stretches,
)
from cactus.weights.rounding.quantize import quantize_q4

RANDOM = np.random.default_rng


def inputs(columns: int, count: int = 400, seed: int = 0) -> Any:
    """Correlated activations [count, columns], some columns a hundred times as strong."""
    random = RANDOM(seed)
    hidden = random.normal(size=(count, columns // 4)) @ random.normal(size=(columns // 4, columns))
    noisy = hidden + random.normal(size=(count, columns))
    return (noisy * np.exp(random.normal(0, 1, columns))).astype(np.float32)


def damped(gram: Any) -> Any:
    wide = gram.astype(np.float64)
    return wide + np.eye(len(wide)) * DAMPING * wide.diagonal().mean()


def trace(values: Any, stored: Any, gram: Any) -> float:
    error = values.astype(np.float64) - stored
    return float(np.einsum("ri,ij,rj->", error, gram, error))


@pytest.mark.parametrize("group", [32, 64])
def test_the_loss_is_the_trace_and_half_of_plain_rounding(group: int) -> None:
    values = RANDOM(1).normal(0, 0.02, (48, 256)).astype(np.float32)
    x = inputs(256)
    gram = x.T @ x
    fitted = quantize_with_feedback(values, feedback(gram, group))
    stored = dequantize_q4(*fitted[:3])
    assert fitted.loss == pytest.approx(trace(values, stored, damped(gram)), rel=1e-3)
    plain = dequantize_q4(*quantize_q4(values, group))
    weighted = dequantize_q4(*quantize_q4(values, group, weights=gram.diagonal().copy()))
    losses = [trace(values, each, gram.astype(np.float64)) for each in (stored, weighted, plain)]
    assert losses[0] < 0.6 * losses[1] and losses[1] < losses[2]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30))
def test_never_worse_than_plain_rounding(seed: int) -> None:
    random = RANDOM(seed)
    values = random.standard_t(4, (8, 128)).astype(np.float32)
    x = inputs(128, 300, seed)
    gram = x.T @ x
    stored = dequantize_q4(*quantize_with_feedback(values, feedback(gram, 64))[:3])
    plain = dequantize_q4(*quantize_q4(values, 64, search=False))
    wide = gram.astype(np.float64)
    assert trace(values, stored, wide) < trace(values, plain, wide)


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
def test_inputs_that_say_nothing_leave_plain_rounding(fill: float) -> None:
    values = RANDOM(2).normal(size=(16, 128)).astype(np.float32)
    fitted = quantize_with_feedback(values, feedback(np.full((128, 128), fill, np.float32), 64))
    for got, want in zip(fitted[:3], quantize_q4(values, 64), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("power", [1e-30, 1e34])
def test_only_ratios_of_the_inputs_matter(power: float) -> None:
    values = RANDOM(7).normal(size=(16, 128)).astype(np.float32)
    x = inputs(128)
    gram = x.T @ x / (x.T @ x).max()
    wanted = quantize_with_feedback(values, feedback(gram, 64))
    fitted = quantize_with_feedback(values, feedback(gram * np.float32(power), 64))
    assert fitted.loss == pytest.approx(power * wanted.loss, rel=0.05)


def test_rows_do_not_depend_on_each_other() -> None:
    values = RANDOM(3).normal(size=(40, 128)).astype(np.float32)
    x = inputs(128)
    prepared = feedback(x.T @ x, 64)
    whole = quantize_with_feedback(values, prepared)
    parts = [quantize_with_feedback(values[i : i + 8], prepared) for i in range(0, 40, 8)]
    for i in range(3):
        np.testing.assert_array_equal(whole[i], np.concatenate([part[i] for part in parts]))


def test_columns_that_no_text_reached_and_constant_ones() -> None:
    values = RANDOM(4).normal(size=(16, 128)).astype(np.float32)
    values[:, :64] = 0.25
    values[3] = 0
    x = inputs(128)
    x[:, 70:90] = 0
    fitted = quantize_with_feedback(values, feedback(x.T @ x, 64))
    stored = dequantize_q4(*fitted[:3])
    np.testing.assert_array_equal(stored[3], 0)
    assert np.isfinite(stored).all() and np.abs(stored - values).max() < 1


def test_beyond_f16() -> None:
    values = np.zeros((2, 64), np.float32)
    values[1, 5] = 1e6
    with pytest.raises(OverflowError, match="does not fit f16"):
        quantize_with_feedback(values, feedback(np.eye(64, dtype=np.float32), 64))


@pytest.mark.parametrize(
    ("columns", "group"), [(64, 64), (576, 64), (2560, 64), (8192, 64), (2080, 32)]
)
def test_stretches_are_whole_groups(columns: int, group: int) -> None:
    parts = stretches(columns, group)
    assert [i for part in parts for i in range(columns)[part]] == list(range(columns))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) <= REACH and not any(size % group for size in sizes)
    assert len(parts) == -(-columns // REACH)
