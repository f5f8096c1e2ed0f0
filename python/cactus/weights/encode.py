"""The bytes that store a tensor, and what is lost in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.weights import tiles
from cactus.weights.gguf_blocks import (
    LOSSLESS,
    Q4_KINDS,
    Q8_KINDS,
    dequantize,
    q4_codes,
    q8_codes,
)
from cactus.weights.layout import GROUPS
from cactus.weights.quantize import F16_MAX, quantize_q4, quantize_q8
from cactus.weights.sources import SourceTensor


class Meter:
    """Sums up what a tensor loses, and refuses values that no model can use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._error = 0.0
        self._power = 0.0

    def check(self, values: NDArray[Any]) -> None:
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise ModelFormatError(
                f"tensor {self._name!r} holds {bad} values or scales that are NaN or infinite; "
                "the file is damaged"
            )

    def compare(self, values: tiles.F32, stored: tiles.F32) -> None:
        error = (stored - values).reshape(-1)
        flat = values.reshape(-1)
        self._error += float(np.dot(error, error))
        self._power += float(np.dot(flat, flat))

    @property
    def relative_rms(self) -> float:
        return math.sqrt(self._error / self._power) if self._power else 0.0


def encode(tensor: SourceTensor, dtype: str, raw: tiles.U8, meter: Meter) -> NDArray[Any]:
    """The bytes that store some rows of a tensor: lossless where the formats agree."""
    kind = tensor.kind
    if dtype == "q4" and kind in Q4_KINDS:
        codes, scales, minima = q4_codes(kind, raw)
        meter.check(scales)
        meter.check(minima)
        if kind not in LOSSLESS:
            meter.compare(dequantize(kind, raw), tiles.dequantize_q4(codes, scales, minima))
        return tiles.pack_q4(codes, scales, minima)
    if dtype == "q4_0":
        codes, scales, _ = q4_codes(kind, raw)
        meter.check(scales)
        return tiles.pack_q4(codes, scales)
    if dtype == "q8" and kind in Q8_KINDS:
        signed, scales = q8_codes(kind, raw)
        meter.check(scales)
        if kind not in LOSSLESS:
            meter.compare(dequantize(kind, raw), tiles.dequantize_q8(signed, scales))
        return tiles.pack_q8(signed, scales)
    values = dequantize(kind, raw)
    meter.check(values)
    if dtype == "plain":
        return np.ascontiguousarray(values)
    if dtype == "f32":
        return tiles.pack_plain(values)
    if dtype == "bf16":
        return tiles.pack_plain(raw.view(np.uint16))
    try:
        return _encode_lossy(dtype, values, meter)
    except OverflowError:
        raise UnsupportedModel(
            f"tensor {tensor.name!r} has values up to {float(np.abs(values).max()):g}, beyond "
            f"f16's {F16_MAX:g}; convert with precision FP32"
        ) from None


def _encode_lossy(dtype: str, values: tiles.F32, meter: Meter) -> NDArray[Any]:
    if dtype in ("q4", "q4_64"):
        codes, scales, minima = quantize_q4(values, GROUPS[dtype])
        meter.compare(values, tiles.dequantize_q4(codes, scales, minima))
        return tiles.pack_q4(codes, scales, minima)
    if dtype == "q8":
        signed, scales = quantize_q8(values)
        meter.compare(values, tiles.dequantize_q8(signed, scales))
        return tiles.pack_q8(signed, scales)
    if float(np.abs(values).max(initial=0)) >= F16_MAX + 16:
        raise OverflowError
    half = values.astype(np.float16)
    meter.compare(values, half.astype(np.float32))
    return tiles.pack_plain(half)
