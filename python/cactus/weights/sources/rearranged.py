"""Tensors whose values a model wants in another order, or with zeros between them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cactus.weights.format.layout import TILE_ROWS
from cactus.weights.format.tiles import U8
from cactus.weights.sources.source import SourceTensor

Places = NDArray[np.intp]
"""For each row or column of the result the one of the source that it is; -1: zeros."""

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def padded_places(size: int, wanted: int) -> Places:
    """All `size` places, then zeros."""
    place: Places = np.arange(wanted)
    place[size:] = -1
    return place


def padded_heads(heads: int, size: int, wanted: int) -> Places:
    """Heads of `size` as heads of `wanted`: zeros behind each half, which rotate together."""
    half, whole = size // 2, wanted // 2
    place: Places = np.arange(heads * wanted)
    head, inside = np.divmod(place, wanted)
    which, offset = np.divmod(inside, whole)
    place = head * size + which * half + offset
    place[offset >= half] = -1
    return place


def by_pixel(channels: int, side: int) -> Places:
    """Columns (channel, row, column) of a patch's kernel as (row, column, channel)."""
    order: Places = np.arange(channels * side * side).reshape(channels, side, side)
    return np.ascontiguousarray(order.transpose(1, 2, 0)).reshape(-1)


def rearranged(
    tensor: SourceTensor, rows: Places | None = None, cols: Places | None = None
) -> SourceTensor:
    """A tensor as a matrix (a vector stays one) with its `rows` and `cols` from other places.

    What has more than two dimensions is a matrix of its first one. A vector has only `cols`.
    """
    vector = len(tensor.shape) == 1
    count = 1 if vector else tensor.shape[0]
    width = math.prod(tensor.shape) // count
    # How many of the tensor's own rows make one of the matrix.
    inner = 1 if vector else math.prod(tensor.shape[1:-1])
    kind = tensor.kind if tensor.kind in _BYTES else "F32"
    places = np.arange(count) if rows is None else rows

    def read(first: int, last: int) -> U8:
        """Whole rows of the matrix, [last - first, width, bytes of a value]."""
        start, stop = first * inner, last * inner
        begin = start - start % tensor.unit
        end = min(-(-stop // tensor.unit) * tensor.unit, count * inner)
        given = tensor.rows(begin, end) if kind == tensor.kind else tensor.values(begin, end)
        raw = given[start - begin : stop - begin].view(np.uint8)
        return raw.reshape(last - first, width, _BYTES[kind])

    def picked(start: int, stop: int) -> U8:
        wanted = places[start:stop]
        there = wanted[wanted >= 0]
        shape = (len(wanted), width if cols is None else len(cols), _BYTES[kind])
        made: U8 = np.zeros(shape, np.uint8)
        if len(there):
            first = int(there.min())
            values = read(first, int(there.max()) + 1)[there - first]
            if cols is None:
                made[wanted >= 0] = values
            else:
                kept = np.zeros((len(there), *shape[1:]), np.uint8)
                kept[:, cols >= 0] = values[:, cols[cols >= 0]]
                made[wanted >= 0] = kept
        return made.reshape(len(wanted), -1)

    final = width if cols is None else len(cols)
    shape = (final,) if vector else (len(places), final)
    nbytes = math.prod(shape) * _BYTES[kind]
    return replace(tensor, kind=kind, shape=shape, nbytes=nbytes, rows=picked, unit=TILE_ROWS)


def summed(tensor: SourceTensor, parts: int) -> SourceTensor:
    """A kernel [out, in, parts, rows, cols] as the sum of its parts, [out, in, rows, cols], F32."""
    out, channels, _, height, width = tensor.shape

    def rows(start: int, stop: int) -> U8:
        # Rows of the result are the kernels' lines; whole kernels are read for them.
        per = channels * height
        first, last = start // per, -(-stop // per)
        values = tensor.values(first * per * parts, last * per * parts)
        values = values.reshape(-1, channels, parts, height, width)
        lines = values.sum(axis=2, dtype=np.float32).reshape(-1, width)
        made = np.ascontiguousarray(lines[start - first * per : stop - first * per])
        return made.view(np.uint8)

    shape = (out, channels, height, width)
    nbytes = 4 * math.prod(shape)
    return replace(tensor, kind="F32", shape=shape, nbytes=nbytes, rows=rows)


def transposed(tensor: SourceTensor) -> SourceTensor:
    """A matrix of a usual size turned round, F32. All of it is read for each piece."""
    rows, cols = tensor.shape

    def read(start: int, stop: int) -> U8:
        values = tensor.values(0, rows)
        return np.ascontiguousarray(values[:, start:stop].T).view(np.uint8)

    return replace(tensor, kind="F32", shape=(cols, rows), nbytes=4 * rows * cols, rows=read)
