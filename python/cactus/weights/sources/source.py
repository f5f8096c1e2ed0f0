"""What a conversion reads: a model's config, tensors and tokenizer, wherever they come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cactus.models.uses import Use
from cactus.weights.format.layout import TILE_ROWS
from cactus.weights.format.tiles import F32, U8
from cactus.weights.sources.gguf.blocks import check_kind, dequantize

TOKENIZER_LIMIT = 64 << 20
"""Bytes of a tokenizer's file that are read at most: those of many languages have about 20 MB."""


@dataclass(frozen=True)
class SourceTensor:
    """A tensor to convert, under its checkpoint name.

    `kind` is its format by ggml's name (F32, BF16, Q4_1 ...). `rows(start, stop)` gives raw rows
    uint8 [stop - start, bytes of a row] in checkpoint order; both ends are multiples of `unit`
    or the number of rows. A tensor of rank above two counts all but its last dimension as rows.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    nbytes: int
    rows: Callable[[int, int], U8]
    unit: int = TILE_ROWS

    def values(self, start: int, stop: int) -> F32:
        """Such rows as f32 [stop - start, columns]. Raises UnsupportedModel for other formats."""
        check_kind(self.name, self.kind)
        return dequantize(self.kind, self.rows(start, stop))


@dataclass(frozen=True)
class Embedding:
    """What a checkpoint for embedding or ranking texts says beside its config.

    `settings` is embedding.json but for what only a name tells; `heads` are dense layers behind the
    pooling, by the names that the settings give them. `use` is what the model is for alone; None:
    it can do all that its architecture says.
    """

    use: Use | None
    settings: dict[str, Any]
    heads: tuple[SourceTensor, ...] = ()


@dataclass(frozen=True)
class Source:
    """A model to convert: its config files as dictionaries, its tensors, its tokenizer.

    `write_tokenizer(folder)` puts the tokenizer's files into the folder; `origin` says where the
    weights come from; `notes` are what a user should know about it. `license` is what its files
    call it, such as "apache-2.0". `embedding` is there where the model embeds or ranks texts alone.
    `tables` are what Python works with of a model that sees.
    """

    config: dict[str, Any]
    generation: dict[str, Any]
    chat_template: str | None
    tensors: tuple[SourceTensor, ...]
    origin: dict[str, Any]
    write_tokenizer: Callable[[Path], None]
    close: Callable[[], None]
    notes: tuple[str, ...] = field(default=())
    license: str | None = None
    embedding: Embedding | None = None
    tables: tuple[SourceTensor, ...] = ()


def with_offset(tensor: SourceTensor, offset: float) -> SourceTensor:
    """The values of a tensor of a Hugging Face folder plus `offset`, in f32.

    GGUF files hold such norms as the model multiplies with them, checkpoints what training adds.
    """

    def rows(start: int, stop: int) -> U8:
        values = tensor.values(start, stop) + np.float32(offset)
        raw: U8 = values.view(np.uint8)
        return raw

    return replace(tensor, kind="F32", nbytes=4 * math.prod(tensor.shape), rows=rows)


def as_matrix(tensor: SourceTensor) -> SourceTensor:
    """A convolution's kernel [out, in, taps] as the matrix of its windows, [out, taps * in]."""
    out, channels, taps = tensor.shape

    def rows(start: int, stop: int) -> U8:
        raw = tensor.rows(start * channels, stop * channels)
        kernels = raw.reshape(stop - start, channels, taps, -1).swapaxes(1, 2)
        return np.ascontiguousarray(kernels).reshape(stop - start, -1)

    return replace(tensor, shape=(out, taps * channels), rows=rows)


def rows_of(tensor: SourceTensor, name: str, first: int, count: int) -> SourceTensor:
    """`count` rows of a matrix from `first` on, or values of a vector, as a tensor `name`."""
    vector = len(tensor.shape) == 1

    def rows(start: int, stop: int) -> U8:
        if not vector:
            return tensor.rows(first + start, first + stop)
        width = tensor.nbytes // tensor.shape[0]
        whole = tensor.rows(start, stop)
        return np.ascontiguousarray(whole[:, first * width : (first + count) * width])

    shape = (count, *tensor.shape[1:])
    nbytes = tensor.nbytes // tensor.shape[0] * count
    return replace(tensor, name=name, shape=shape, nbytes=nbytes, rows=rows)


def license_name(given: object) -> str | None:
    """A license as a file names it, if that is a short line of text."""
    return (
        given if isinstance(given, str) and 0 < len(given) <= 200 and given.isprintable() else None
    )
