"""The tile layout, byte by byte, and its round trips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cactus.weights.format import layout, tiles

_rows = st.integers(1, 50)
_groups = st.integers(1, 5)
_seed = st.integers(0, 2**32 - 1)


def finite_f16(random: np.random.Generator, *shape: int) -> Any:
    """Any finite f16, subnormals and both zeros included."""
    bits = random.integers(0, 1 << 16, shape, np.uint16)
    values = bits.view(np.float16)
    return np.where(np.isfinite(values), values, np.float16(1))


_q4 = pytest.mark.parametrize(("dtype", "group", "block"), [("q4", 32, 320), ("q4_64", 64, 576)])
_q8 = pytest.mark.parametrize(("dtype", "group", "block"), [("q8", 32, 544), ("q8_64", 64, 1056)])


@_q4
@given(rows=_rows, groups=_groups, seed=_seed)
def test_q4_round_trip(
    dtype: str, group: int, block: int, rows: int, groups: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 16, (rows, group * groups), np.uint8)
    scales, minima = finite_f16(random, rows, groups), finite_f16(random, rows, groups)
    data = tiles.pack_q4(codes, scales, minima)
    assert data.nbytes == layout.tile_nbytes(dtype, rows, group * groups)
    assert data.nbytes == -(-rows // 16) * groups * block
    back = tiles.unpack_q4(data, rows, group * groups, dtype)
    assert np.array_equal(back[0], codes)
    assert np.array_equal(back[1].view(np.uint16), scales.view(np.uint16))
    assert np.array_equal(back[2].view(np.uint16), minima.view(np.uint16))
    wide = np.repeat(scales, group, axis=1).astype(np.float32)
    wanted = wide * codes + np.repeat(minima, group, axis=1).astype(np.float32)
    assert np.array_equal(tiles.dequantize_tile(dtype, data, rows, group * groups), wanted)


@pytest.mark.parametrize(("dtype", "levels"), [("q4_0", range(-8, 8)), ("q4_nl", layout.LEVELS)])
@given(rows=_rows, groups=_groups, seed=_seed)
def test_round_trip_without_minima(
    dtype: str, levels: Sequence[int], rows: int, groups: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 16, (rows, 32 * groups), np.uint8)
    scales = finite_f16(random, rows, groups)
    data = tiles.pack_q4(codes, scales)
    assert (
        data.nbytes == layout.tile_nbytes(dtype, rows, 32 * groups) == -(-rows // 16) * groups * 288
    )
    back = tiles.unpack_q4_0(data, rows, 32 * groups)
    assert np.array_equal(back[0], codes)
    assert np.array_equal(back[1].view(np.uint16), scales.view(np.uint16))
    wanted = np.repeat(scales, 32, axis=1).astype(np.float32) * np.array(levels, np.float32)[codes]
    assert np.array_equal(tiles.dequantize_tile(dtype, data, rows, 32 * groups), wanted)


@_q8
@given(rows=_rows, groups=_groups, seed=_seed)
def test_q8_round_trip(
    dtype: str, group: int, block: int, rows: int, groups: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(-128, 128, (rows, group * groups), np.int8)
    scales = finite_f16(random, rows, groups)
    data = tiles.pack_q8(codes, scales)
    assert data.nbytes == layout.tile_nbytes(dtype, rows, group * groups)
    assert data.nbytes == -(-rows // 16) * groups * block
    back = tiles.unpack_q8(data, rows, group * groups, dtype)
    assert np.array_equal(back[0], codes)
    assert np.array_equal(back[1].view(np.uint16), scales.view(np.uint16))
    wanted = np.repeat(scales, group, axis=1).astype(np.float32) * codes
    assert np.array_equal(tiles.dequantize_tile(dtype, data, rows, group * groups), wanted)


@given(_rows, st.integers(1, 70), _seed, st.sampled_from(["f16", "bf16", "f32"]))
def test_plain_round_trip(rows: int, cols: int, seed: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, cols)).astype(np.float32)
    stored: Any = values
    if dtype == "f16":
        stored = values.astype(np.float16)
        values = stored.astype(np.float32)
    elif dtype == "bf16":
        stored = (values.view(np.uint32) >> 16).astype(np.uint16)
        values = (stored.astype(np.uint32) << 16).view(np.float32)
    data = tiles.pack_plain(stored)
    assert data.nbytes == layout.tile_nbytes(dtype, rows, cols)
    raw = data.reshape(-1).view(np.uint8)
    assert np.array_equal(tiles.dequantize_tile(dtype, raw, rows, cols), values)


@_q4
def test_q4_bytes_are_where_the_kernels_look(dtype: str, group: int, block: int) -> None:
    """Each code alone, found by the formula of the format."""
    rows, cols = 32, 2 * group
    for row, col in ((0, 0), (3, 5), (15, 31), (16, group), (31, 63), (20, 44), (9, cols - 1)):
        codes = np.zeros((rows, cols), np.uint8)
        codes[row, col] = 13
        zero = np.zeros((rows, 2), np.float16)
        data = tiles.pack_q4(codes, zero, zero)
        inside = col % group
        at = (row // 16 * 2 + col // group) * block
        at += inside // 8 * 64 + row % 16 * 4 + inside % 4
        assert np.flatnonzero(data).tolist() == [at]
        assert data[at] == (13 << 4 if inside % 8 >= 4 else 13)


@_q8
def test_q8_bytes_are_where_the_kernels_look(dtype: str, group: int, block: int) -> None:
    rows, cols = 32, 2 * group
    for row, col in ((0, 0), (3, 5), (15, 31), (16, group), (31, 63), (20, 44), (9, cols - 1)):
        codes = np.full((rows, cols), -128, np.int8)
        codes[row, col] = 5
        data = tiles.pack_q8(codes, np.zeros((rows, 2), np.float16))
        at = (row // 16 * 2 + col // group) * block
        at += col % group // 4 * 64 + row % 16 * 4 + col % 4
        assert np.flatnonzero(data).tolist() == [at]
        assert data[at] == 133


@_q4
def test_scales_and_minima_follow_the_codes(dtype: str, group: int, block: int) -> None:
    scales = np.arange(1, 65, dtype=np.float16).reshape(32, 2)
    codes = np.zeros((32, 2 * group), np.uint8)
    data = tiles.pack_q4(codes, scales, -scales).reshape(2, 2, block)
    for tile in range(2):
        for number in range(2):
            expected = scales[16 * tile : 16 * tile + 16, number]
            last = data[tile, number, 8 * group :].view(np.float16)
            assert np.array_equal(last, [*expected, *-expected])


@_q8
def test_scales_of_q8_follow_the_codes(dtype: str, group: int, block: int) -> None:
    scales = np.arange(1, 65, dtype=np.float16).reshape(32, 2)
    data = tiles.pack_q8(np.zeros((32, 2 * group), np.int8), scales).reshape(2, 2, block)
    assert np.array_equal(data[1, 0, 16 * group :].view(np.float16), scales[16:, 0])


def test_plain_values_lie_column_by_column() -> None:
    values = np.arange(32 * 3, dtype=np.float32).reshape(32, 3)
    tiled = tiles.pack_plain(values).reshape(2, 3, 16)
    assert np.array_equal(tiled[1, 2], values[16:, 2])


def test_missing_rows_are_zero() -> None:
    one = np.ones((1, 64), np.uint8)
    scale = np.ones((1, 2), np.float16)
    for data, dtype in (
        (tiles.pack_q4(one, scale, scale), "q4"),
        (tiles.pack_q4(one, scale[:, :1], scale[:, :1]), "q4_64"),
        (tiles.pack_q4(one, scale), "q4_0"),
        (tiles.pack_q4(one, scale), "q4_nl"),
        (tiles.pack_q8(one.view(np.int8), scale), "q8"),
        (tiles.pack_q8(one.view(np.int8), scale[:, :1]), "q8_64"),
        (tiles.pack_plain(one.astype(np.float32)).view(np.uint8), "f32"),
    ):
        whole = tiles.dequantize_tile(dtype, data.reshape(-1), 16, 64)
        assert (whole[0] != 0).all()
        assert (whole[1:] == 0).all()


def test_sizes() -> None:
    assert layout.tile_nbytes("q4", 17, 64) == 2 * 2 * 320
    assert layout.tile_nbytes("q4_64", 17, 128) == 2 * 2 * 576
    assert layout.tile_nbytes("q8", 16, 32) == 544
    assert layout.tile_nbytes("q8_64", 17, 128) == 2 * 2 * 1056
    assert layout.tile_nbytes("bf16", 1, 3) == 16 * 3 * 2
    assert layout.tile_nbytes("f32", 16, 3) == 16 * 3 * 4
    for dtype in ("q4", "q4_0", "q4_nl", "q8"):
        with pytest.raises(ValueError, match="multiples of 32, got 48"):
            layout.tile_nbytes(dtype, 16, 48)
    for dtype in ("q4_64", "q8_64"):
        with pytest.raises(ValueError, match=f"{dtype} needs columns in multiples of 64, got 96"):
            layout.tile_nbytes(dtype, 16, 96)
    with pytest.raises(ValueError, match="unknown tile dtype 'q5'"):
        layout.tile_nbytes("q5", 16, 32)


def test_damaged_scales_give_no_warning() -> None:
    """NaN and infinity come out as they are; who uses the values has to look at them."""
    for bad in (np.inf, -np.inf, np.nan):
        scale = np.full((16, 1), bad, np.float16)
        data = tiles.pack_q4(np.zeros((16, 32), np.uint8), scale, scale)
        assert not np.isfinite(tiles.dequantize_tile("q4", data, 16, 32)).any()
        data = tiles.pack_q4(np.zeros((16, 64), np.uint8), scale, scale)
        assert not np.isfinite(tiles.dequantize_tile("q4_64", data, 16, 64)).any()
        data = tiles.pack_q4(np.ones((16, 32), np.uint8), scale)
        for dtype in ("q4_0", "q4_nl"):
            assert not np.isfinite(tiles.dequantize_tile(dtype, data, 16, 32)).any()
        data = tiles.pack_q8(np.zeros((16, 32), np.int8), scale)
        assert not np.isfinite(tiles.dequantize_tile("q8", data, 16, 32)).any()
        data = tiles.pack_q8(np.zeros((16, 64), np.int8), scale)
        assert not np.isfinite(tiles.dequantize_tile("q8_64", data, 16, 64)).any()
        half = np.ascontiguousarray(tiles.pack_plain(scale)).view(np.uint8).reshape(-1)
        assert not np.isfinite(tiles.dequantize_tile("f16", half, 16, 1)).any()
