"""Quantisers: f32 matrices to codes of 4 or 8 bits, scales and minima."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cactus.weights.format.layout import GROUPS
from cactus.weights.format.tiles import F16, F32, U8

F16_MAX = 65504.0
"""The largest finite f16, hence the largest scale or minimum that can be stored."""

_CUTS = (0.0, 0.04, 0.08, 0.12)
"""Shares of a group's range that the search leaves out at either end: outliers are few."""

_REFINEMENTS = 3


def quantize_q8(values: F32, group: int = GROUPS["q8"]) -> tuple[NDArray[np.int8], F16]:
    """Symmetric 8-bit: codes int8 [rows, cols] and scales f16 [rows, cols/group].

    The scale is the group's largest magnitude / 127. Raises `OverflowError` beyond f16.
    """
    rows, cols = values.shape
    grouped = values.reshape(rows, cols // group, group)
    scales = _to_f16(np.abs(grouped).max(axis=-1) / np.float32(127))
    codes = np.rint(grouped * _inverse(scales)[..., None])
    np.clip(codes, -127, 127, out=codes)
    return codes.astype(np.int8).reshape(rows, cols), scales


def quantize_q4(
    values: F32,
    group: int = GROUPS["q4"],
    *,
    weights: F32 | None = None,
    search: bool = True,
) -> tuple[U8, F16, F16]:
    """Affine 4-bit: codes 0..15 [rows, cols], scales and minima f16 [rows, cols/group].

    Takes each group's smallest and largest value as the ends of its range, and with `search` tries
    shorter ranges, too, then alternates least squares for (scale, minimum) and rounding for the
    codes, keeping what has the smallest squared error; `weights` [cols], at least 0, says how much
    an error in each column counts. Raises `OverflowError` beyond f16.
    """
    rows, cols = values.shape
    grouped = values.reshape(rows, cols // group, group)
    counts = np.ones(cols, np.float32) if weights is None else weights
    # Only ratios within a group matter; a group in which nothing counts is fitted evenly.
    counts = counts.reshape(-1, group)
    total = counts.sum(axis=-1, keepdims=True)
    counts = np.divide(counts, total, out=np.full_like(counts, 1 / group), where=total > 0)
    low = grouped.min(axis=-1)
    minima = _to_f16(low)
    span = grouped.max(axis=-1) - low
    best = _fit(grouped, counts, _to_f16(span / np.float32(15)), minima)
    if search:
        for below, above in product(_CUTS, _CUTS):
            scales = _to_f16(span * np.float32((1 - below - above) / 15))
            _improve(best, grouped, counts, scales, _to_f16(low + span * np.float32(below)))
        for _ in range(_REFINEMENTS):
            _improve(best, grouped, counts, *_least_squares(grouped, counts, best.codes))
    return best.codes.astype(np.uint8).reshape(rows, cols), best.scales, best.minima


class _Fit(NamedTuple):
    """Scales, minima and squared errors [rows, groups] and the codes [rows, groups, group]."""

    scales: F16
    minima: F16
    codes: F32
    error: F32


def _fit(values: F32, counts: F32, scales: F16, minima: F16) -> _Fit:
    codes = round_q4(values, scales[..., None], minima[..., None])
    error = codes * scales[..., None].astype(np.float32)
    error += minima[..., None].astype(np.float32)
    error -= values
    error *= error
    return _Fit(scales, minima, codes, _weighted(error, counts))


def _improve(best: _Fit, values: F32, counts: F32, scales: F16, minima: F16) -> None:
    """Put these into `best` for the groups that they fit better."""
    tried = _fit(values, counts, scales, minima)
    better = tried.error < best.error
    np.copyto(best.scales, tried.scales, where=better)
    np.copyto(best.minima, tried.minima, where=better)
    np.copyto(best.codes, tried.codes, where=better[..., None])
    np.copyto(best.error, tried.error, where=better)


def _least_squares(values: F32, counts: F32, codes: F32) -> tuple[F16, F16]:
    """The (scale, minimum) that fit `codes` best, per group; a constant group gets scale 0."""
    mean_code = _weighted(codes, counts)
    mean_value = _weighted(values, counts)
    centred = codes - mean_code[..., None]
    spread = _weighted(centred * centred, counts)
    joint = _weighted(centred * values, counts)
    scale = np.divide(joint, spread, out=np.zeros_like(joint), where=spread > 0)
    rounded = _to_f16(np.clip(scale, -F16_MAX, F16_MAX))
    # The minimum goes with the scale as it is stored, not as it was computed. At the edge of f16
    # it can lie beyond; a worse fit is discarded by the caller.
    minimum = mean_value - rounded.astype(np.float32) * mean_code
    return rounded, _to_f16(np.clip(minimum, -F16_MAX, F16_MAX))


def _weighted(values: F32, counts: F32) -> F32:
    """sum over each group of counts * values: [rows, groups, group] -> [rows, groups]."""
    result: F32 = np.einsum("rgi,gi->rg", values, counts)
    return result


def round_q4(values: F32, scales: F16, minima: F16) -> F32:
    """The codes 0..15, as f32, nearest to `values`; all three broadcast."""
    codes: F32 = values - minima.astype(np.float32)
    codes *= _inverse(scales)
    np.rint(codes, out=codes)
    np.clip(codes, 0, 15, out=codes)
    return codes


def _inverse(scales: F16) -> F32:
    wide = scales.astype(np.float32)
    inverse = np.zeros_like(wide)
    np.divide(np.float32(1), wide, out=inverse, where=wide != 0)
    return inverse


def _to_f16(values: F32) -> F16:
    # f16 rounds up to infinity half a step beyond its largest number.
    largest = float(np.abs(values).max(initial=0))
    if not largest < F16_MAX + 16:
        raise OverflowError(f"{largest:g} does not fit f16")
    return values.astype(np.float16)
