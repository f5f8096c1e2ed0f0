"""Packing matrices into tiles and back, in NumPy; the layout is that of `layout`."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cactus.weights.format.layout import GROUPS, LEVELS, TILE_ROWS, block_nbytes

U8 = NDArray[np.uint8]
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
_Scalar = TypeVar("_Scalar", bound=np.generic)
_LEVELS = np.array(LEVELS, np.int8)


def pack_q4(codes: U8, scales: F16, *minima: F16) -> U8:
    """Pack codes 0..15 [rows, cols] and scales, minima [rows, groups] into uint8 [nbytes].

    With 32 columns in each group the result is q4, with 64 it is q4_64; without minima q4_0 or
    q4_nl.
    """
    codes = _pad_rows(codes)
    tiles, groups = codes.shape[0] // TILE_ROWS, scales.shape[1]
    pairs = codes.reshape(tiles, TILE_ROWS, groups, -1, 2, 4)
    joined = pairs[..., 0, :] | (pairs[..., 1, :] << 4)
    blocks = (
        joined.transpose(0, 2, 3, 1, 4).reshape(tiles, groups, -1),
        *(_group_bytes(factors) for factors in (scales, *minima)),
    )
    return np.concatenate(blocks, axis=2).reshape(-1)


def unpack_q4(data: U8, rows: int, cols: int, dtype: str = "q4") -> tuple[U8, F16, F16]:
    """Undo `pack_q4`: codes uint8 [rows, cols], scales and minima f16 [rows, groups].

    `dtype` is "q4" or "q4_64".
    """
    tiles, groups = -(-rows // TILE_ROWS), cols // GROUPS[dtype]
    blocks = data.reshape(tiles, groups, block_nbytes(dtype))
    joined = blocks[..., :-64].reshape(tiles, groups, -1, TILE_ROWS, 4).transpose(0, 3, 1, 2, 4)
    codes = np.stack((joined & 15, joined >> 4), axis=-2).reshape(tiles * TILE_ROWS, cols)
    scales = _group_values(blocks[..., -64:-32])
    return codes[:rows], scales[:rows], _group_values(blocks[..., -32:])[:rows]


def unpack_q4_0(data: U8, rows: int, cols: int) -> tuple[U8, F16]:
    """Undo `pack_q4` without minima: codes uint8 [rows, cols], scales f16 [rows, groups]."""
    blocks = data.reshape(-1, block_nbytes("q4_0"))
    # As q4 with some minima, which do not matter.
    wide = np.concatenate((blocks, blocks[:, -32:]), axis=1).reshape(-1)
    return unpack_q4(wide, rows, cols)[:2]


def pack_q8(codes: NDArray[np.int8], scales: F16) -> U8:
    """Pack codes -128..127 [rows, cols] and scales [rows, groups] into uint8 [nbytes].

    With 32 columns in each group the result is q8, with 64 it is q8_64.
    """
    shifted = _pad_rows(codes).view(np.uint8) ^ np.uint8(128)
    tiles, groups = shifted.shape[0] // TILE_ROWS, scales.shape[1]
    quads = shifted.reshape(tiles, TILE_ROWS, groups, -1, 4).transpose(0, 2, 3, 1, 4)
    blocks = (quads.reshape(tiles, groups, -1), _group_bytes(scales))
    return np.concatenate(blocks, axis=2).reshape(-1)


def unpack_q8(data: U8, rows: int, cols: int, dtype: str = "q8") -> tuple[NDArray[np.int8], F16]:
    """Undo `pack_q8`: codes int8 [rows, cols] and scales f16 [rows, groups].

    `dtype` is "q8" or "q8_64".
    """
    tiles, groups = -(-rows // TILE_ROWS), cols // GROUPS[dtype]
    blocks = data.reshape(tiles, groups, block_nbytes(dtype))
    quads = blocks[..., :-32].reshape(tiles, groups, -1, TILE_ROWS, 4).transpose(0, 3, 1, 2, 4)
    codes = (quads.reshape(tiles * TILE_ROWS, cols) ^ np.uint8(128)).view(np.int8)
    return codes[:rows], _group_values(blocks[..., -32:])[:rows]


def pack_plain(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Reorder [rows, cols] into [tiles, cols, 16]; for f16, bf16 (as uint16) and f32 values."""
    padded = _pad_rows(values)
    tiled = padded.reshape(-1, TILE_ROWS, padded.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(tiled)


def unpack_plain(data: NDArray[_Scalar], rows: int, cols: int) -> NDArray[_Scalar]:
    """Undo `pack_plain`: [rows, cols]."""
    tiled = data.reshape(-1, cols, TILE_ROWS).transpose(0, 2, 1)
    values: NDArray[_Scalar] = tiled.reshape(-1, cols)[:rows]
    return values


def dequantize_tile(dtype: str, data: U8, rows: int, cols: int) -> F32:
    """The f32 [rows, cols] that packed bytes stand for; see `layout.tile_nbytes` for the dtypes."""
    # A damaged scale may be infinite; what it makes of its group is for the caller to see.
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype in ("q4", "q4_64"):
            return dequantize_q4(*unpack_q4(data, rows, cols, dtype))
        if dtype == "q4_0":
            codes, scales = unpack_q4_0(data, rows, cols)
            return dequantize_q8(codes.view(np.int8) - np.int8(8), scales)
        if dtype == "q4_nl":
            return dequantize_q4_nl(*unpack_q4_0(data, rows, cols))
        if dtype in ("q8", "q8_64"):
            return dequantize_q8(*unpack_q8(data, rows, cols, dtype))
        if dtype == "bf16":
            return bf16_to_f32(unpack_plain(data.view(np.uint16), rows, cols))
        values = unpack_plain(data.view(np.float16 if dtype == "f16" else np.float32), rows, cols)
        return values.astype(np.float32)


def dequantize_q4(codes: U8, scales: F16, minima: F16) -> F32:
    """scale * code + minimum, in f32 [rows, cols]."""
    grouped = codes.reshape(*scales.shape, -1).astype(np.float32)
    grouped *= scales[..., None].astype(np.float32)
    grouped += minima[..., None].astype(np.float32)
    return grouped.reshape(codes.shape)


def dequantize_q4_nl(codes: U8, scales: F16) -> F32:
    """scale * LEVELS[code], in f32 [rows, cols]."""
    return dequantize_q8(_LEVELS[codes], scales)


def dequantize_q8(codes: NDArray[np.int8], scales: F16) -> F32:
    """scale * code, in f32 [rows, cols]."""
    grouped = codes.reshape(*scales.shape, -1).astype(np.float32)
    grouped *= scales[..., None].astype(np.float32)
    return grouped.reshape(codes.shape)


def bf16_to_f32(values: NDArray[np.uint16]) -> F32:
    """bfloat16 bits are the upper half of a float32."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def _pad_rows(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    missing = -values.shape[0] % TILE_ROWS
    if not missing:
        return np.ascontiguousarray(values)
    return np.concatenate((values, np.zeros((missing, values.shape[1]), values.dtype)))


def _group_bytes(values: F16) -> U8:
    """f16 [rows, groups] -> uint8 [tiles, groups, 32]."""
    return np.ascontiguousarray(pack_plain(values.astype("<f2", copy=False))).view(np.uint8)


def _group_values(data: Any) -> F16:
    """uint8 [tiles, groups, 32] -> f16 [tiles * 16, groups]."""
    values: F16 = np.ascontiguousarray(data).view(np.float16)
    return unpack_plain(values, values.shape[0] * TILE_ROWS, values.shape[1])
