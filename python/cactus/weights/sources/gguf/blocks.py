"""The block formats of ggml, as NumPy.

`q4_codes` and `q8_codes` split the formats that Cactus stores nearly as they are into codes and
scales; `dequantize` gives the f32 values of every format that can be read. All take raw rows
uint8 [rows, row_nbytes], as `GGUFFile.rows` returns them. The layouts are those of ggml-common.h
(https://github.com/ggml-org/ggml), every K-format a superblock of 256 values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.errors import UnsupportedModel
from cactus.weights.format.layout import LEVELS
from cactus.weights.format.tiles import F16, F32, U8, bf16_to_f32

_1, _3, _4 = np.uint8(1), np.uint8(3), np.uint8(4)


def q4_codes(kind: str, raw: U8) -> tuple[U8, F16, F16]:
    """Rows of `Q4_KINDS` as codes 0..15 [rows, cols], scales and minima f16 [rows, cols/32].

    Lossless for Q4_0, whose minimum -8 * scale is exact in f16, and for Q4_1. Q4_K keeps its
    codes; its scales, products of 17 bits, are rounded to f16.
    """
    if kind == "Q4_K":
        return _q4_k_codes(raw)
    header = 2 if kind == "Q4_0" else 4
    blocks = raw.reshape(raw.shape[0], -1, header + 16)
    scales = _f16(blocks, 0)
    if kind == "Q4_0":
        with np.errstate(over="ignore", invalid="ignore"):  # The caller looks for what is bad.
            minima = scales * np.float16(-8)
    else:
        minima = _f16(blocks, 2)
    return _nibbles(blocks[..., header:]).reshape(raw.shape[0], -1), scales, minima


def q4_nl_codes(kind: str, raw: U8) -> tuple[U8, F16]:
    """Rows of `Q4_NL_KINDS` as codes 0..15 [rows, cols] and scales f16 [rows, cols/32].

    Lossless for IQ4_NL. The scales of IQ4_XS, products of 16 bits, are rounded to f16.
    """
    rows = raw.shape[0]
    if kind == "IQ4_XS":
        blocks = raw.reshape(rows, -1, 136)
        with np.errstate(over="ignore", invalid="ignore"):  # The caller looks for what is bad.
            scales = _iq4_xs_scales(blocks).astype(np.float16).reshape(rows, -1)
        return _nibbles(blocks[..., 8:].reshape(rows, -1, 8, 16)).reshape(rows, -1), scales
    blocks = raw.reshape(rows, -1, 18)
    return _nibbles(blocks[..., 2:]).reshape(rows, -1), _f16(blocks, 0)


def q8_codes(kind: str, raw: U8) -> tuple[NDArray[np.int8], F16]:
    """Rows of `Q8_KINDS` as codes int8 [rows, cols] and scales f16 [rows, cols/32].

    Lossless but for the scales of IQ4_XS.
    """
    rows = raw.shape[0]
    if kind in Q4_NL_KINDS:
        levels, scales = q4_nl_codes(kind, raw)
        return _IQ4_LEVELS[levels], scales
    blocks = raw.reshape(rows, -1, {"Q8_0": 34, "Q5_0": 22}.get(kind, 18))
    scales = _f16(blocks, 0)
    if kind == "Q8_0":
        codes = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    elif kind == "Q5_0":
        codes = _five_bits(blocks[..., 2:6], blocks[..., 6:]).view(np.int8) - np.int8(16)
    else:
        codes = _nibbles(blocks[..., 2:]).view(np.int8) - np.int8(8)
    return codes.reshape(rows, -1), scales


def check_kind(name: str, kind: str) -> None:
    """UnsupportedModel where the values of a tensor cannot be had from its format."""
    if kind not in DEQUANTIZE:
        raise UnsupportedModel(
            f"tensor {name!r} has the type {kind}, which cannot be converted; "
            f"supported: {', '.join(sorted(DEQUANTIZE))}"
        )


def dequantize(kind: str, raw: U8) -> F32:
    """The f32 values [rows, cols] of raw rows; `kind` is one of `DEQUANTIZE`."""
    # A damaged scale may be NaN or infinite; the caller looks for what it makes of its block.
    with np.errstate(over="ignore", invalid="ignore"):
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
    codes = codes.reshape(*scales.shape, 32)
    return _affine(codes, scales.astype(np.float32), minima.astype(np.float32))


def _q8_0(raw: U8) -> F32:
    codes, scales = q8_codes("Q8_0", raw)
    return codes.reshape(*scales.shape, 32) * scales.astype(np.float32)[..., None]


def _bf16(raw: U8) -> F32:
    return bf16_to_f32(raw.view(np.uint16))


def _f16_values(raw: U8) -> F32:
    return raw.view(np.float16).astype(np.float32)


def _f32_values(raw: U8) -> F32:
    return raw.view(np.float32)


def _q5_0(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 22)
    codes: F32 = _five_bits(blocks[..., 2:6], blocks[..., 6:]).astype(np.float32) - np.float32(16)
    codes *= _f16(blocks, 0).astype(np.float32)[..., None]
    return codes


def _q5_1(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 24)
    values = _five_bits(blocks[..., 4:8], blocks[..., 8:]).astype(np.float32)
    values *= _f16(blocks, 0).astype(np.float32)[..., None]
    values += _f16(blocks, 2).astype(np.float32)[..., None]
    return values


def _five_bits(high: U8, low: U8) -> U8:
    """Bit j of 32 is the fifth bit of value j; the low four lie as in Q4_0."""
    bits = np.unpackbits(np.ascontiguousarray(high), axis=-1, bitorder="little")
    codes: U8 = _nibbles(low) | (bits << _4)
    return codes


def _q4_k_codes(raw: U8) -> tuple[U8, F16, F16]:
    rows = raw.shape[0]
    blocks = raw.reshape(rows, -1, 144)
    with np.errstate(over="ignore", invalid="ignore"):  # The caller looks for what is bad.
        scales, minima = _k_scales(blocks)
        return (
            _nibbles(blocks[..., 16:].reshape(rows, -1, 4, 32)).reshape(rows, -1),
            scales.astype(np.float16).reshape(rows, -1),
            minima.astype(np.float16).reshape(rows, -1),
        )


def _q4_k(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 144)
    codes = _nibbles(blocks[..., 16:].reshape(*blocks.shape[:2], 4, 32))
    return _affine(codes.reshape(*blocks.shape[:2], 8, 32), *_k_scales(blocks))


def _q5_k(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 176)
    codes = _nibbles(blocks[..., 48:].reshape(*blocks.shape[:2], 4, 32))
    # Bit j of byte i is the fifth bit of value i in the j-th group of 32.
    bits = (blocks[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & _1
    return _affine(codes.reshape(bits.shape) | (bits << _4), *_k_scales(blocks))


def _k_scales(blocks: U8) -> tuple[F32, F32]:
    """Scales and minima [..., 8] of Q4_K and Q5_K: two f16, then 16 numbers of 6 bits."""
    packed = blocks[..., 4:16]
    first, second, third = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    scales = np.concatenate((first & 63, (third & 15) | (first >> 6 << 4)), axis=-1)
    minima = np.concatenate((second & 63, (third >> 4) | (second >> 6 << 4)), axis=-1)
    return (
        _f16(blocks, 0).astype(np.float32)[..., None] * scales,
        -_f16(blocks, 2).astype(np.float32)[..., None] * minima,
    )


def _q2_k(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 84)
    packed = blocks[..., :16]
    scales = _f16(blocks, 80).astype(np.float32)[..., None] * (packed & 15)
    minima = -_f16(blocks, 82).astype(np.float32)[..., None] * (packed >> 4)
    codes = _two_bits(blocks[..., 16:80])
    return _affine(codes.reshape(*scales.shape, 16), scales, minima)


def _q3_k(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 110)
    # Bit j of byte i says whether value i of the j-th group of 32 keeps its code or loses 4.
    bits = (blocks[..., None, :32] >> np.arange(8, dtype=np.uint8)[:, None]) & _1
    codes = _two_bits(blocks[..., 32:96]).reshape(bits.shape) | (bits << np.uint8(2))
    low, high = blocks[..., 96:104], blocks[..., None, 104:108]
    high = (high >> np.array([[0], [2], [4], [6]], np.uint8)) & _3
    numbers = _nibbles(low) | (high.reshape(*low.shape[:-1], 16) << 4)
    scales = _f16(blocks, 108).astype(np.float32)[..., None] * (numbers.astype(np.float32) - 32)
    values: F32 = codes.reshape(*scales.shape, 16).astype(np.float32) - np.float32(4)
    values *= scales[..., None]
    return values


def _two_bits(packed: U8) -> U8:
    """64 bytes to 256 values: per 32 bytes the lowest two bits of all, then the next two ..."""
    halves = packed.reshape(*packed.shape[:-1], 2, 1, 32)
    codes: U8 = (halves >> np.array([[0], [2], [4], [6]], np.uint8)) & _3
    return codes


def _q6_k(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 210)
    low = blocks[..., :128].reshape(*blocks.shape[:2], 2, 64)
    low = np.concatenate((low & 15, low >> 4), axis=-1)
    codes = low.reshape(*blocks.shape[:2], 256) | (
        _two_bits(blocks[..., 128:192]).reshape(*blocks.shape[:2], 256) << 4
    )
    numbers = np.ascontiguousarray(blocks[..., 192:208]).view(np.int8)
    scales = _f16(blocks, 208).astype(np.float32)[..., None] * numbers
    values: F32 = codes.reshape(*scales.shape, 16).astype(np.float32) - np.float32(32)
    values *= scales[..., None]
    return values


_IQ4_LEVELS = np.array(LEVELS, np.int8)


def _iq4_nl(raw: U8) -> F32:
    codes, scales = q8_codes("IQ4_NL", raw)
    return codes.reshape(*scales.shape, 32) * scales.astype(np.float32)[..., None]


def _iq4_xs(raw: U8) -> F32:
    blocks = raw.reshape(raw.shape[0], -1, 136)
    codes = _IQ4_LEVELS[_nibbles(blocks[..., 8:].reshape(*blocks.shape[:2], 8, 16))]
    values: F32 = codes * _iq4_xs_scales(blocks)[..., None]
    return values


def _iq4_xs_scales(blocks: U8) -> F32:
    """One scale [..., 8] for each 32 values: an f16 times a number of 6 bits."""
    high = np.ascontiguousarray(blocks[..., 2:4]).view("<u2")
    high = (high >> np.arange(0, 16, 2, dtype=np.uint16)) & 3
    low = blocks[..., 4:8, None] >> np.array([0, 4], np.uint8) & 15
    numbers = low.reshape(high.shape) | (high << 4)
    scales: F32 = numbers.astype(np.float32) - np.float32(32)
    scales *= _f16(blocks, 0).astype(np.float32)[..., None]
    return scales


def _affine(codes: U8, scales: F32, minima: F32) -> F32:
    values = codes.astype(np.float32)
    values *= scales[..., None]
    values += minima[..., None]
    return values


DEQUANTIZE: dict[str, Callable[[U8], NDArray[Any]]] = {
    "F32": _f32_values,
    "F16": _f16_values,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q8_0": _q8_0,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
}
"""Readers of every supported format, by ggml's name."""

FLOATS = ("F32", "F16", "BF16")
"""Formats of one number an element."""

Q4_KINDS = ("Q4_0", "Q4_1", "Q4_K")
"""Formats that `q4_codes` takes apart without requantising."""

Q4_NL_KINDS = ("IQ4_NL", "IQ4_XS")
"""Formats that `q4_nl_codes` takes apart without requantising."""

Q8_KINDS = ("Q8_0", "Q5_0", "Q4_0", *Q4_NL_KINDS)
"""Formats that `q8_codes` takes apart without requantising."""

LOSSLESS = {
    **{"F32": "f32", "F16": "f16", "BF16": "bf16"},
    **{"Q4_0": "q4_0", "Q4_1": "q4", "Q8_0": "q8", "Q5_0": "q8", "IQ4_NL": "q4_nl"},
}
"""The format of ours that keeps a format exactly."""

STORED = {
    **LOSSLESS,
    **{"Q4_K": "q4", "IQ4_XS": "q4_nl", "Q2_K": "q4_64", "Q3_K": "q4"},
    **{"Q5_1": "q8", "Q5_K": "q8", "Q6_K": "q8"},
}
"""What each format is stored in: exactly, or in the smallest format that makes the error that the
source format was made with at most a tenth larger. Of normally distributed weights, as ggml
quantises them (own error; what storing adds, as a distance of its own; both together):

    Q4_0    0.0859   q4_0    0         0.0859      Q2_K   0.2968   q4_64   0.0678   0.3047
    Q4_1    0.0782   q4      0         0.0782      Q3_K   0.1508   q4      0.0620   0.1634
    Q5_0    0.0427   q8      0         0.0427      Q4_K   0.0714   q4      0.0002   0.0714
    Q5_1    0.0379   q8      0.0053    0.0382      Q5_K   0.0361   q8      0.0053   0.0365
    Q8_0    0.0054   q8      0         0.0054      Q6_K   0.0178   q8      0.0053   0.0186
    IQ4_NL  0.0761   q4_nl   0         0.0761      IQ4_XS 0.0767   q4_nl   0.0002   0.0767
"""
