"""What `convert` reads from: a GGUF file or a model's folder, behind one shape."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cactus.errors import ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.inputs.files import is_gguf
from cactus.weights.format.layout import TILE_ROWS
from cactus.weights.format.tiles import U8
from cactus.weights.sources.ctranslate2 import is_ctranslate2
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.gguf.config import read_model
from cactus.weights.sources.gguf.families import MappedTensor
from cactus.weights.sources.gguf.file import GGUFFile, read_gguf
from cactus.weights.sources.origin import describe_file


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


@dataclass(frozen=True)
class Source:
    """A model to convert: its config files as dictionaries, its tensors, its tokenizer.

    `write_tokenizer(folder)` puts the tokenizer's files into the folder; `origin` says where the
    weights come from; `notes` are what a user should know about it. `license` is what
    its files call it, such as "apache-2.0".
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


def open_source(path: Path) -> Source:
    """Open a GGUF file, a Hugging Face folder or a Whisper model in CTranslate2's format.

    Raises `ModelNotFound`, `UnsupportedModel` (pickle, other formats) or `ModelFormatError`.
    """
    from cactus.weights.sources.checkpoint import PICKLE_ADVICE, PICKLE_SUFFIXES, open_checkpoint

    if os.path.isdir(path):
        if is_ctranslate2(path):
            from cactus.weights.sources.ctranslate2_whisper import open_ctranslate2

            return open_ctranslate2(path)
        return open_checkpoint(path)
    if not os.path.exists(path):
        raise ModelNotFound(f"{path}: no such file or folder")
    if is_gguf(path):
        return _open_gguf(path)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise UnsupportedModel(f"{path}: {PICKLE_ADVICE}")
    if path.suffix.lower() == ".safetensors":
        raise UnsupportedModel(
            f"{path}: a safetensors file alone has no config and tokenizer; give its folder"
        )
    return _open_gguf(path)


def with_offset(tensor: SourceTensor, offset: float) -> SourceTensor:
    """The values of a tensor of a Hugging Face folder plus `offset`, in f32.

    GGUF files hold such norms as the model multiplies with them, checkpoints what training adds.
    """

    def rows(start: int, stop: int) -> U8:
        values = dequantize(tensor.kind, tensor.rows(start, stop)) + np.float32(offset)
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


def _open_gguf(path: Path) -> Source:
    gguf = read_gguf(path)
    try:
        model = read_model(gguf)
        tensors = tuple(_gguf_tensor(gguf, tensor) for tensor in model.tensors)
    except (ModelFormatError, UnsupportedModel) as error:
        gguf.close()
        raise type(error)(f"{path}: {error}") from None
    except BaseException:
        gguf.close()
        raise

    def write_tokenizer(folder: Path) -> None:
        from cactus.tokenizer import write_tokenizer

        write_tokenizer(gguf.metadata, folder)

    return Source(
        config=model.config,
        generation=model.generation,
        chat_template=model.chat_template,
        tensors=tensors,
        origin=_gguf_origin(gguf),
        write_tokenizer=write_tokenizer,
        close=gguf.close,
        license=license_name(gguf.metadata.get("general.license")),
    )


def license_name(given: object) -> str | None:
    """A license as a file names it, if that is a short line of text."""
    return (
        given if isinstance(given, str) and 0 < len(given) <= 200 and given.isprintable() else None
    )


def _gguf_origin(gguf: GGUFFile) -> dict[str, Any]:
    origin = {"format": "gguf"} | describe_file(gguf.file, gguf.data_offset)
    if gguf.more:
        origin["parts"] = [describe_file(part.file, part.data_offset) for part in gguf.more]
    return origin


def _gguf_tensor(gguf: GGUFFile, mapped: MappedTensor) -> SourceTensor:
    kind = gguf.tensors[mapped.source].type
    if len(mapped.shape) == 1:
        # A vector is one row; a rotary bias is permuted by value instead of by row.
        whole = mapped.source_shape == mapped.shape
        if kind.elements != 1 and (mapped.rotary_head_dim or not whole):
            raise UnsupportedModel(
                f"tensor {mapped.source!r}: a bias of blocks cannot be reordered"
            )
        nbytes = mapped.shape[0] // kind.elements * kind.nbytes
        rows = partial(_vector, gguf, mapped)
        return SourceTensor(mapped.name, kind.name, mapped.shape, nbytes, rows, 1)
    nbytes = math.prod(mapped.shape[:-1]) * gguf.tensors[mapped.source].row_nbytes
    unit = math.lcm(mapped.rotary_head_dim or 1, TILE_ROWS)
    rows = partial(_rows, gguf, mapped)
    return SourceTensor(mapped.name, kind.name, mapped.shape, nbytes, rows, unit)


def _rows(gguf: GGUFFile, mapped: MappedTensor, start: int, stop: int) -> U8:
    raw = gguf.rows(mapped.source, mapped.first + start, mapped.first + stop)
    return _halves(raw, mapped.rotary_head_dim)


def _vector(gguf: GGUFFile, mapped: MappedTensor, start: int, stop: int) -> U8:
    raw = gguf.rows(mapped.source, start, stop)
    if mapped.rows:
        width = gguf.tensors[mapped.source].type.nbytes
        raw = raw[:, mapped.first * width : (mapped.first + mapped.shape[0]) * width]
    if not mapped.rotary_head_dim:
        return np.ascontiguousarray(raw)
    return _halves(raw.reshape(mapped.shape[0], -1), mapped.rotary_head_dim).reshape(raw.shape)


def _halves(raw: U8, head_dim: int) -> U8:
    """Rows with each head's interleaved pairs (0, half, 1, half + 1, ...) in order again."""
    if not head_dim:
        return raw
    pairs = raw.reshape(-1, head_dim // 2, 2, raw.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(raw.shape)
