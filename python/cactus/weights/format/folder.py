"""The weights folder: config.json, tokenizer files, and packed tensors in model.safetensors."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.calls.closing import Closing
from cactus.errors import ModelFormatError, ModelNotFound
from cactus.inputs.checks import short
from cactus.inputs.files import find_bytes, find_json, parse_object
from cactus.inputs.versions import wrong_version
from cactus.weights.format.layout import tile_nbytes
from cactus.weights.format.safetensors import (
    ALIGNMENT,
    SafetensorsFile,
    TensorInfo,
    read_safetensors,
)

if TYPE_CHECKING:
    from cactus.weights.format.tiles import F32

FORMAT = 1
"""Version of the folder's layout, in config.json and in the metadata of model.safetensors."""

_MAX_SIDE = 1 << 40


@dataclass(frozen=True)
class PackedTensor:
    """A tensor of the folder: `rows` x `cols` values of `dtype` at `offset` in `data_path`.

    dtype "f32", "f16", "bf16" or one of `GROUPS`. layout "tile" (see `layout`) or
    "plain" (f32, row after row; `shape` may then have any rank, rows is all but the last dimension,
    and a vector is one row).
    """

    dtype: str
    shape: tuple[int, ...]
    rows: int
    cols: int
    offset: int
    nbytes: int
    layout: str


@dataclass
class WeightsFolder(Closing):
    """A checked weights folder; nothing of the tensors is read before it is asked for."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, PackedTensor]
    chat_template: str | None
    _data: SafetensorsFile = field(repr=False)

    @classmethod
    def open(cls, path: Path | str) -> WeightsFolder:
        """Open a folder made by `convert` and prove each tensor's size against its file.

        Raises `ModelNotFound` when there is no folder, `ModelFormatError` naming the file and the
        field or tensor when it is damaged or was not made by `convert`.
        """
        path = Path(path)
        if not os.path.isdir(path):
            raise ModelNotFound(f"{path}: no such folder")
        config = _config(path / "config.json")
        data = read_safetensors(path / "model.safetensors")
        try:
            tensors = _tensors(data)
            template = _template(path / "chat_template.jinja")
        except ModelFormatError:
            data.close()
            raise
        return cls(path, config, tensors, template, data)

    @property
    def data_path(self) -> Path:
        """The file that holds the tensors, to be memory-mapped."""
        return self.path / "model.safetensors"

    @property
    def tokenizer_path(self) -> Path:
        """tokenizer.json; a folder of a model without text may lack it."""
        return self.path / "tokenizer.json"

    @property
    def nbytes(self) -> int:
        """Size of the file that holds the tensors, in bytes."""
        return self._data.size

    def dequantize(self, name: str) -> F32:
        """A tensor's values as f32 in its shape: [rows, cols] for a matrix.

        Raises `KeyError` for an unknown name.
        """
        import numpy as np

        from cactus.weights.format.tiles import dequantize_tile

        tensor = self.tensors[name]
        raw = self._data.read(name)
        if tensor.layout == "plain":
            return raw.view(np.float32).reshape(tensor.shape)
        return dequantize_tile(tensor.dtype, raw, tensor.rows, tensor.cols)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._data.close()


def _config(path: Path) -> dict[str, Any]:
    config = find_json(path)
    if config is None:
        raise ModelFormatError(f"{path.parent}: no config.json; this is not a weights folder")
    own = config.get("cactus")
    if not isinstance(own, dict):
        raise ModelFormatError(
            f"{path}: the key 'cactus' is missing; run `cactus convert {path.parent}` first"
        )
    _check_format(str(path), own)
    if not isinstance(config.get("model_type"), str):
        raise ModelFormatError(f"{path}: model_type is missing, expected a string")
    return config


def _check_format(where: str, own: dict[str, Any]) -> None:
    advice = "convert the model again"
    if wrong := wrong_version(where, "weights format", own.get("format"), FORMAT, advice):
        raise ModelFormatError(wrong)


def _template(path: Path) -> str | None:
    text = find_bytes(path, 1 << 20)
    try:
        return None if text is None else text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{path}: not UTF-8: {error.reason}") from None


def _tensors(data: SafetensorsFile) -> dict[str, PackedTensor]:
    where = f"{data.path}: __metadata__"
    if "cactus" not in data.metadata:
        raise ModelFormatError(f"{where}: the key 'cactus' is missing; this file is not packed")
    own = parse_object(data.metadata["cactus"].encode(), where)
    _check_format(where, own)
    described = own.get("tensors")
    if not isinstance(described, dict):
        raise ModelFormatError(f"{where}: expected the tensors' descriptions")
    for name in described:
        if name not in data.tensors:
            raise ModelFormatError(f"{data.path}: tensor {short(name)} is described but missing")
    tensors = {}
    for name, info in data.tensors.items():
        label = f"{data.path}: tensor {short(name)}"
        if info.offset % ALIGNMENT:
            raise ModelFormatError(f"{label} at byte {info.offset} is not {ALIGNMENT}-aligned")
        if name in described:
            tensors[name] = _tile(label, described[name], info)
        else:
            tensors[name] = _plain(label, info)
    return tensors


def _tile(label: str, entry: Any, info: TensorInfo) -> PackedTensor:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(side) is int and 0 < side < _MAX_SIDE for side in shape)
    ):
        raise ModelFormatError(f"{label}: description {short(entry)}, expected dtype and shape")
    rows, cols = shape
    try:
        expected = tile_nbytes(str(entry.get("dtype")), rows, cols)
    except ValueError as error:
        raise ModelFormatError(f"{label}: {error}") from None
    if info.dtype != "U8" or info.nbytes != expected:
        raise ModelFormatError(
            f"{label}: {entry['dtype']} [{rows}, {cols}] needs U8 [{expected}], "
            f"got {info.dtype} {list(info.shape)}"
        )
    return PackedTensor(entry["dtype"], (rows, cols), rows, cols, info.offset, info.nbytes, "tile")


def _plain(label: str, info: TensorInfo) -> PackedTensor:
    if info.dtype != "F32" or not info.nbytes or not info.shape:
        raise ModelFormatError(
            f"{label}: {info.dtype} {list(info.shape)} has no description, expected F32 values"
        )
    cols = info.shape[-1]
    rows = info.nbytes // 4 // cols
    return PackedTensor("f32", info.shape, rows, cols, info.offset, info.nbytes, "plain")
