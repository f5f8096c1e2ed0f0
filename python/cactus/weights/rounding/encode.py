"""The bytes that store a tensor, and what is lost in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.weights.format import tiles
from cactus.weights.format.layout import GROUPS
from cactus.weights.rounding.quantize import F16_MAX, quantize_q4, quantize_q8
from cactus.weights.sources.gguf.blocks import (
    LOSSLESS,
    Q4_KINDS,
    Q4_NL_KINDS,
    Q8_KINDS,
    dequantize,
    q4_codes,
    q4_nl_codes,
    q8_codes,
)
from cactus.weights.sources.source import SourceTensor


class Encoded(NamedTuple):
    """What is written for some rows, and the sums of squares of what is lost and of the source."""

    data: NDArray[Any]
    error: float = 0.0
    power: float = 0.0


def check_finite(name: str, values: NDArray[Any]) -> None:
    """`ModelFormatError` for values that no model can use."""
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ModelFormatError(
            f"tensor {name!r} holds {bad} values or scales that are NaN or infinite; "
            "the file is damaged"
        )


def beyond_f16(name: str, values: tiles.F32) -> UnsupportedModel:
    """The error for values that need a scale, or are themselves, larger than f16 can hold."""
    return UnsupportedModel(
        f"tensor {name!r} has values up to {float(np.abs(values).max()):g}, beyond "
        f"f16's {F16_MAX:g}; convert with precision FP32"
    )


def compared(data: NDArray[Any], values: tiles.F32, stored: tiles.F32) -> Encoded:
    """`data` with what is lost when `values` become `stored`."""
    error = (stored - values).reshape(-1)
    flat = values.reshape(-1)
    return Encoded(data, float(np.dot(error, error)), float(np.dot(flat, flat)))


def encode(tensor: SourceTensor, dtype: str, raw: tiles.U8) -> Encoded:
    """The bytes that store some rows of a tensor: lossless where the formats agree."""
    kind, name = tensor.kind, tensor.name
    if dtype == "q4" and kind in Q4_KINDS:
        codes, scales, minima = q4_codes(kind, raw)
        check_finite(name, scales)
        check_finite(name, minima)
        packed = tiles.pack_q4(codes, scales, minima)
        return _kept(kind, raw, packed, lambda: tiles.dequantize_q4(codes, scales, minima))
    if dtype == "q4_0":
        codes, scales, _ = q4_codes(kind, raw)
        check_finite(name, scales)
        return Encoded(tiles.pack_q4(codes, scales))
    if dtype == "q4_nl" and kind in Q4_NL_KINDS:
        codes, scales = q4_nl_codes(kind, raw)
        check_finite(name, scales)
        packed = tiles.pack_q4(codes, scales)
        return _kept(kind, raw, packed, lambda: tiles.dequantize_q4_nl(codes, scales))
    if dtype == "q8" and kind in Q8_KINDS:
        signed, scales = q8_codes(kind, raw)
        check_finite(name, scales)
        packed = tiles.pack_q8(signed, scales)
        return _kept(kind, raw, packed, lambda: tiles.dequantize_q8(signed, scales))
    values = dequantize(kind, raw)
    check_finite(name, values)
    if dtype == "plain":
        return Encoded(np.ascontiguousarray(values))
    if dtype == "f32":
        return Encoded(tiles.pack_plain(values))
    if dtype == "bf16":
        return Encoded(tiles.pack_plain(raw.view(np.uint16)))
    try:
        return _encode_lossy(dtype, values)
    except OverflowError:
        raise beyond_f16(name, values) from None


def _kept(kind: str, raw: tiles.U8, packed: tiles.U8, stored: Callable[[], tiles.F32]) -> Encoded:
    """Blocks of a file in a format of ours: what was ``stored`` is compared where it is rounded."""
    if kind in LOSSLESS:
        return Encoded(packed)
    return compared(packed, dequantize(kind, raw), stored())


def _encode_lossy(dtype: str, values: tiles.F32) -> Encoded:
    if dtype in ("q4", "q4_64"):
        codes, scales, minima = quantize_q4(values, GROUPS[dtype])
        packed = tiles.pack_q4(codes, scales, minima)
        return compared(packed, values, tiles.dequantize_q4(codes, scales, minima))
    if dtype in ("q8", "q8_64"):
        signed, scales = quantize_q8(values, GROUPS[dtype])
        return compared(tiles.pack_q8(signed, scales), values, tiles.dequantize_q8(signed, scales))
    if float(np.abs(values).max(initial=0)) >= F16_MAX + 16:
        raise OverflowError
    half = values.astype(np.float16)
    return compared(tiles.pack_plain(half), values, half.astype(np.float32))
