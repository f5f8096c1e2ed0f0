"""Quantisers: f32 matrices to the codes, scales and minima of q4 and q8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cactus.weights.layout import GROUP
from cactus.weights.tiles import F16, F32, U8

F16_MAX = 65504.0
"""The largest finite f16, hence the largest scale or minimum that can be stored."""


def quantize_q8(values: F32) -> tuple[NDArray[np.int8], F16]:
    """Symmetric 8-bit: codes int8 [rows, cols] and scales f16 [rows, cols/32].

    The scale is the group's largest magnitude / 127. Raises `OverflowError` beyond f16.
    """
    rows, cols = values.shape
    grouped = values.reshape(rows, cols // GROUP, GROUP)
    scales = _to_f16(np.abs(grouped).max(axis=-1) / np.float32(127))
    codes = np.rint(grouped * _inverse(scales)[..., None])
    np.clip(codes, -127, 127, out=codes)
    return codes.astype(np.int8).reshape(rows, cols), scales


def quantize_q4(values: F32, refinements: int = 3) -> tuple[U8, F16, F16]:
    """Affine 4-bit: codes 0..15 [rows, cols], scales and minima f16 [rows, cols/32].

    Starts from the group's smallest and largest value, then alternates least squares for (scale,
    minimum) and rounding for the codes, keeping what has the smaller squared error in each group.
    Raises `OverflowError` beyond f16.
    """
    rows, cols = values.shape
    grouped = values.reshape(rows, cols // GROUP, GROUP)
    low = grouped.min(axis=-1)
    minima = _to_f16(low)
    scales = _to_f16((grouped.max(axis=-1) - low) / np.float32(15))
    codes = _round_q4(grouped, scales, minima)
    error = _squared_error(grouped, codes, scales, minima)
    for _ in range(refinements):
        new_scales, new_minima = _least_squares(grouped, codes)
        new_codes = _round_q4(grouped, new_scales, new_minima)
        new_error = _squared_error(grouped, new_codes, new_scales, new_minima)
        better = new_error < error
        scales = np.where(better, new_scales, scales)
        minima = np.where(better, new_minima, minima)
        codes = np.where(better[..., None], new_codes, codes)
        error = np.where(better, new_error, error)
    return codes.astype(np.uint8).reshape(rows, cols), scales, minima


def _least_squares(values: F32, codes: F32) -> tuple[F16, F16]:
    """The (scale, minimum) that fit `codes` best, per group; a constant group gets scale 0."""
    mean_code = codes.mean(axis=-1)
    mean_value = values.mean(axis=-1)
    centred = codes - mean_code[..., None]
    spread = np.einsum("...i,...i->...", centred, centred)
    joint = np.einsum("...i,...i->...", centred, values)
    scale = np.divide(joint, spread, out=np.zeros_like(joint), where=spread > 0)
    rounded = _to_f16(scale)
    # The minimum goes with the scale as it is stored, not as it was computed. At the edge of f16
    # it can lie beyond; a worse fit is discarded by the caller.
    minimum = mean_value - rounded.astype(np.float32) * mean_code
    return rounded, _to_f16(np.clip(minimum, -F16_MAX, F16_MAX))


def _round_q4(values: F32, scales: F16, minima: F16) -> F32:
    codes: F32 = values - minima[..., None].astype(np.float32)
    codes *= _inverse(scales)[..., None]
    np.rint(codes, out=codes)
    np.clip(codes, 0, 15, out=codes)
    return codes


def _squared_error(values: F32, codes: F32, scales: F16, minima: F16) -> F32:
    error = codes * scales[..., None].astype(np.float32)
    error += minima[..., None].astype(np.float32)
    error -= values
    result: F32 = np.einsum("...i,...i->...", error, error)
    return result


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
