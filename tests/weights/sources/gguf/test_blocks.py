"""The block formats of GGUF against the `gguf` package, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.errors import UnsupportedModel
from cactus.weights.format import tiles
from cactus.weights.format.layout import tile_nbytes
from cactus.weights.rounding.encode import encode
from cactus.weights.rounding.storage import choose_dtype
from cactus.weights.sources.gguf.blocks import (
    DEQUANTIZE,
    LOSSLESS,
    Q4_KINDS,
    Q4_NL_KINDS,
    Q8_KINDS,
    STORED,
    dequantize,
    q4_codes,
    q4_nl_codes,
    q8_codes,
)
from cactus.weights.sources.gguf.file import TYPES
from cactus.weights.sources.rearranged import rearranged, summed, transposed
from cactus.weights.sources.source import SourceTensor, with_offset
from tests.weights.forge import HALVES

_SIZES = {kind.name: (kind.elements, kind.nbytes) for kind in TYPES.values()}
_BLOCKS = [name for name in DEQUANTIZE if _SIZES[name][0] > 1]


def random_rows(kind: str, rows: int, blocks: int, seed: int) -> Any:
    """Raw rows with random codes and any finite scales, subnormals included."""
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (rows, blocks, _SIZES[kind][1]), np.uint8)
    for at in HALVES.get(kind, (0,)):
        half = np.ascontiguousarray(raw[..., at : at + 2]).view(np.float16)
        half[~np.isfinite(half)] = 1
        # -8 times the scale of Q4_0 has to be finite as well.
        half[np.abs(half) > 8000] /= 16
        raw[..., at : at + 2] = half.view(np.uint8)
    return raw.reshape(rows, -1)


def by_the_package(kind: str, raw: Any) -> Any:
    return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])


@pytest.mark.parametrize("kind", _BLOCKS)
def test_dequantize_equals_the_package(kind: str) -> None:
    for seed in range(20):
        raw = random_rows(kind, 7, 3, seed)
        values = dequantize(kind, raw)
        assert values.dtype == np.float32
        assert values.shape == (7, 3 * _SIZES[kind][0])
        assert np.array_equal(values, by_the_package(kind, raw))


def test_every_code_of_every_format() -> None:
    """All bytes equal: each nibble and high bit takes each of its values somewhere."""
    for kind in _BLOCKS:
        raw = np.repeat(np.arange(256, dtype=np.uint8)[:, None], _SIZES[kind][1], axis=1)
        for at in HALVES.get(kind, (0,)):
            raw[:, at : at + 2] = np.array([0.5], np.float16).view(np.uint8)
        assert np.array_equal(dequantize(kind, raw), by_the_package(kind, raw)), kind


def test_plain_formats() -> None:
    values = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    assert np.array_equal(dequantize("F32", values.view(np.uint8)), values)
    half = values.astype(np.float16)
    assert np.array_equal(dequantize("F16", half.view(np.uint8)), half.astype(np.float32))
    raw = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
    assert np.array_equal(dequantize("BF16", raw), by_the_package("BF16", raw))


@given(
    st.sampled_from(["Q4_0", "Q4_1"]), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32)
)
@settings(max_examples=50)
def test_q4_import_is_lossless(kind: str, rows: int, blocks: int, seed: int) -> None:
    """Through the tiles and back: exactly what the package makes of the same bytes."""
    raw = random_rows(kind, rows, blocks, seed)
    packed = tiles.pack_q4(*q4_codes(kind, raw))
    stored = tiles.dequantize_tile("q4", packed, rows, 32 * blocks)
    assert np.array_equal(stored, by_the_package(kind, raw))


@given(
    st.sampled_from(["Q8_0", "Q5_0", "Q4_0", "IQ4_NL"]),
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
@settings(max_examples=50)
def test_q8_import_is_lossless(kind: str, rows: int, blocks: int, seed: int) -> None:
    raw = random_rows(kind, rows, blocks, seed)
    packed = tiles.pack_q8(*q8_codes(kind, raw))
    stored = tiles.dequantize_tile("q8", packed, rows, 32 * blocks)
    assert np.array_equal(stored, by_the_package(kind, raw))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32))
@settings(max_examples=50)
def test_q4_nl_import_is_lossless(rows: int, blocks: int, seed: int) -> None:
    raw = random_rows("IQ4_NL", rows, blocks, seed)
    packed = tiles.pack_q4(*q4_nl_codes("IQ4_NL", raw))
    stored = tiles.dequantize_tile("q4_nl", packed, rows, 32 * blocks)
    assert np.array_equal(stored, by_the_package("IQ4_NL", raw))


@pytest.mark.parametrize(("kind", "dtype"), [("Q4_K", "q4"), ("IQ4_XS", "q4_nl")])
def test_codes_are_kept_where_only_scales_do_not_fit(kind: str, dtype: str) -> None:
    """Scales are rounded to f16: a relative error far below that of 4 bits."""
    random = np.random.default_rng(3)
    raw = random_rows(kind, 16, 4, 3)
    blocks = raw.reshape(64, -1)
    for at in HALVES.get(kind, (0,)):
        blocks[:, at : at + 2] = random.uniform(1e-4, 1e-3, (64, 1)).astype("<f2").view(np.uint8)
    stored = tiles.dequantize_tile(
        dtype, encode(source(kind, raw, 1024), dtype, raw).data, 16, 1024
    )
    wanted = by_the_package(kind, raw)
    assert 0 < np.linalg.norm(stored - wanted) / np.linalg.norm(wanted) < 4e-4


@pytest.mark.parametrize("kind", _BLOCKS)
@pytest.mark.parametrize("bad", [0x7C00, 0xFC00, 0x7E00, 0x7D00])  # ±inf, quiet, signalling NaN
def test_damaged_scales_give_no_warning(kind: str, bad: int) -> None:
    raw = np.zeros((1, _SIZES[kind][1]), np.uint8)
    for at in HALVES.get(kind, (0,)):
        raw[:, at : at + 2] = np.array([bad], np.uint16).view(np.uint8)
    assert not np.isfinite(dequantize(kind, raw)).all()
    if kind in Q4_KINDS:
        assert not np.isfinite(q4_codes(kind, raw)[2]).all()
    if kind in Q4_NL_KINDS:
        assert not np.isfinite(q4_nl_codes(kind, raw)[1]).all()
    if kind in Q8_KINDS:
        assert not np.isfinite(q8_codes(kind, raw)[1]).all()


@pytest.mark.parametrize("kind", _BLOCKS)
def test_every_half_as_a_scale_equals_the_package(kind: str) -> None:
    """All 65,536 patterns: subnormal, huge, infinite and NaN ones alike."""
    random = np.random.default_rng(7)
    halves = np.arange(1 << 16, dtype=np.uint16)
    raw = random.integers(0, 256, (len(halves), _SIZES[kind][1]), np.uint8)
    for at in HALVES.get(kind, (0,)):
        raw[:, at : at + 2] = random.permutation(halves)[:, None].view(np.uint8)
    with np.errstate(all="ignore"):
        wanted = by_the_package(kind, raw)
    assert np.array_equal(dequantize(kind, raw), wanted, equal_nan=True)


# What a format is stored in, against the weights that it was made of


def source(kind: str, raw: Any, cols: int) -> SourceTensor:
    return SourceTensor("x.weight", kind, (len(raw), cols), raw.nbytes, lambda *_: raw)


def stored(kind: str, dtype: str, raw: Any, cols: int) -> Any:
    """What is read back after rows of `kind` have been stored in `dtype`, and the reported loss."""
    tensor = source(kind, raw, cols)
    assert choose_dtype(tensor, None) == STORED[kind]
    packed, error, power = encode(tensor, dtype, raw)
    loss = (error / power) ** 0.5 if power else 0.0
    return tiles.dequantize_tile(dtype, packed, len(raw), cols), loss


def distance(values: Any, wanted: Any) -> float:
    return float(np.linalg.norm(values - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("kind", _BLOCKS)
def test_storing_makes_the_error_at_most_a_tenth_larger(kind: str) -> None:
    with np.load(Path(__file__).parent / "golden" / "blocks.npz") as golden:
        weights, raw = golden["weights"].astype(np.float32), golden[kind]
    source = by_the_package(kind, raw)
    own = distance(source, weights)
    values, reported = stored(kind, STORED[kind], raw, weights.shape[1])
    assert reported == pytest.approx(distance(values, source), rel=1e-4, abs=1e-12)
    assert (reported == 0) == (kind in LOSSLESS)
    assert reported < own
    assert distance(values, weights) <= 1.1 * own
    # Nothing smaller would do.
    sizes = {dtype: tile_nbytes(dtype, *weights.shape) for dtype in ("q4_64", "q4", "q8")}
    chosen = tile_nbytes(STORED[kind], *weights.shape)
    for dtype in (dtype for dtype, size in sizes.items() if size < chosen):
        values, _ = stored(kind, dtype, raw, weights.shape[1])
        assert distance(values, weights) > 1.1 * own, dtype


@pytest.mark.fault("F09")
def test_values_of_another_format_are_refused_wherever_they_are_taken() -> None:
    tensor = SourceTensor(
        "eyes.weight", "I32", (4, 8), 128, lambda start, stop: np.zeros(0, np.uint8)
    )
    said = "tensor 'eyes.weight' has the type I32, which cannot be converted"
    for made in (
        rearranged(tensor, rows=np.arange(4)),
        transposed(tensor),
        with_offset(tensor, 1.0),
        summed(replace(tensor, shape=(1, 1, 2, 2, 8)), 2),
    ):
        with pytest.raises(UnsupportedModel, match=said):
            made.rows(0, made.shape[0])
    with pytest.raises(UnsupportedModel, match=said):
        choose_dtype(tensor, None)
