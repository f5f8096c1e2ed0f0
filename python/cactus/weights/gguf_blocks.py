"""The block formats of ggml, as NumPy.

`lossless` splits the formats that Cactus stores as they are into codes and scales; `dequantize`
gives the f32 values of every format that can be read. Both take raw rows uint8 [rows, row_nbytes]
as `GGUFFile.rows` returns them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.weights.tiles import F16, F32, U8, bf16_to_f32


def q4_codes(kind: str, raw: U8) -> tuple[U8, F16, F16]:
    """Q4_0 or Q4_1 rows as codes [rows, cols], scales and minima f16 [rows, cols/32]; lossless.

    Q4_0 means scale * (code - 8): its minimum, -8 * scale, is exact in f16.
    """
    header = 2 if kind == "Q4_0" else 4
    blocks = raw.reshape(raw.shape[0], -1, header + 16)
    scales = _f16(blocks, 0)
    if kind == "Q4_0":
        with np.errstate(over="ignore"):  # The caller looks for infinities.
            minima = scales * np.float16(-8)
    else:
        minima = _f16(blocks, 2)
    return _nibbles(blocks[..., header:]).reshape(raw.shape[0], -1), scales, minima


def q8_codes(raw: U8) -> tuple[NDArray[np.int8], F16]:
    """Q8_0 rows as codes int8 [rows, cols] and scales f16 [rows, cols/32]; lossless."""
    blocks = raw.reshape(raw.shape[0], -1, 34)
    codes = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    return codes.reshape(raw.shape[0], -1), _f16(blocks, 0)


def dequantize(kind: str, raw: U8) -> F32:
    """The f32 values [rows, cols] of raw rows; `kind` is one of `DEQUANTIZE`."""
    values = DEQUANTIZE[kind](raw)
    return values.reshape(raw.shape[0], -1)


def _f16(blocks: U8, at: int) -> F16:
    return np.ascontiguousarray(blocks[..., at : at + 2]).view(np.float16)[..., 0]


def _nibbles(packed: U8) -> U8:
    """Low nibbles of a block's bytes are its first half, high nibbles its second."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def _q4_0(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 18)
    codes: F32 = _nibbles(blocks[..., 2:]).astype(np.float32) - np.float32(8)
    codes *= _f16(blocks, 0).astype(np.float32)[..., None]
    return codes


def _q4_1(raw: U8) -> F32:
    codes, scales, minima = q4_codes("Q4_1", raw)
    values = codes.reshape(*scales.shape, 32).astype(np.float32)
    values *= scales.astype(np.float32)[..., None]
    values += minima.astype(np.float32)[..., None]
    return values


def _q8_0(raw: U8) -> F32:
    codes, scales = q8_codes(raw)
    return codes.reshape(*scales.shape, 32) * scales.astype(np.float32)[..., None]


def _bf16(raw: U8) -> F32:
    return bf16_to_f32(raw.view(np.uint16))


def _f16_values(raw: U8) -> F32:
    return raw.view(np.float16).astype(np.float32)


def _f32_values(raw: U8) -> F32:
    return raw.view(np.float32)


DEQUANTIZE: dict[str, Callable[[U8], NDArray[Any]]] = {
    "F32": _f32_values,
    "F16": _f16_values,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q8_0": _q8_0,
}
"""Readers of every supported format, by ggml's name."""
