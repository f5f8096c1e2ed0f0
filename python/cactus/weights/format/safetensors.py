"""Reading and writing safetensors files; the reader trusts nothing.

    8 bytes   length of the header, little-endian
    header    JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__"
    data      the tensors, offsets counted from here, no holes

https://github.com/huggingface/safetensors#format is the format; the rules of its reference
reader hold here: no duplicate key, no hole, no overlap, no trailing byte.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cactus.errors import ModelFormatError
from cactus.inputs.checks import short
from cactus.inputs.files import RegularFile, open_with, parse_object
from cactus.inputs.partial import begin, end, sweep_once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALIGNMENT = 64
"""Every tensor that Cactus writes begins at a multiple of this many bytes in the file."""

FILLER = "cactus.filler."
"""Prefix of the tensors of zeros that keep the others aligned: the format has no holes.

The writer adds them, the reader leaves them out.
"""

WRITTEN_AT_ONCE = 4 << 20
"""Bytes that are given to the system together."""

LARGE_PAGE = 2 << 20
"""Bytes of the pages that a system should keep weights in: from them they are read up to 1.7 times
as fast as from pages of 4 KiB that lie anywhere."""

HEADER_LIMIT = 8 << 20
"""Longest header that is read, in bytes; the reference allows 100 MB, real ones have up to 1 MB.

Python objects take up to thirty times the text, and a hostile header is to cost no gigabyte.
"""

MAX_TENSORS = 1 << 16
"""Tensors in one file (real files: up to 3,000)."""

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: `offset` counts from the start of the file, both in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass
class SafetensorsFile:
    """A checked safetensors file: every tensor's bytes are inside it.

    `data_offset` is the length of everything before the tensors, in bytes.
    """

    path: Path
    size: int
    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]
    data_offset: int
    file: RegularFile = field(repr=False)

    def read(self, name: str, start: int = 0, size: int | None = None) -> NDArray[np.uint8]:
        """Copy bytes [start, start + size) of a tensor (by default all) as uint8 [size]."""
        info = self.tensors[name]
        size = info.nbytes - start if size is None else size
        if start < 0 or size < 0 or start + size > info.nbytes:
            raise ValueError(f"{name}: bytes {start}..{start + size} of {info.nbytes}")
        return self.file.array(info.offset + start, size)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.file.close()


def read_safetensors(path: Path | str) -> SafetensorsFile:
    """Open a safetensors file and prove its header against its size.

    Raises `ModelNotFound`, or `ModelFormatError` naming the tensor or the field.
    """
    return open_with(_parse, path)


def _parse(file: RegularFile) -> SafetensorsFile:
    if file.size < 8:
        raise ModelFormatError(
            f"{file.size} bytes are not a safetensors file: expected 8 bytes of header length"
        )
    length = int.from_bytes(file.read(0, 8), "little")
    if length < 2:
        raise ModelFormatError(f"header length is {length}, expected at least 2")
    if length > HEADER_LIMIT:
        raise ModelFormatError(f"header length is {length}, expected at most {HEADER_LIMIT} bytes")
    if 8 + length > file.size:
        raise ModelFormatError(f"header length is {length}, but the file has {file.size} bytes")
    text = bytes(file.read(8, length))
    if text[:1] != b"{":
        raise ModelFormatError(f"header begins with {text[:1]!r}, expected '{{'")
    header = parse_object(text, "header")
    metadata = _metadata(header.pop("__metadata__", {}))
    if len(header) > MAX_TENSORS:
        raise ModelFormatError(f"{len(header)} tensors, expected at most {MAX_TENSORS}")
    start = 8 + length
    tensors = {name: _tensor(name, entry, start) for name, entry in header.items()}
    _check_cover(tensors, start, file.size)
    tensors = {name: info for name, info in tensors.items() if not name.startswith(FILLER)}
    return SafetensorsFile(file.path, file.size, metadata, tensors, start, file)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ModelFormatError("__metadata__: expected an object of strings")
    return value


def _tensor(name: str, entry: Any, start: int) -> TensorInfo:
    label = f"tensor {short(name)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ModelFormatError(f"{label}: expected exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise ModelFormatError(f"{label}: unknown dtype {short(dtype)}")
    if not _is_sizes(shape) or len(shape) > 16:
        raise ModelFormatError(f"{label}: shape {short(shape)} is not a list of sizes")
    if not _is_sizes(offsets) or len(offsets) != 2:
        raise ModelFormatError(f"{label}: data_offsets {short(offsets)}, expected [begin, end]")
    begin, end = offsets
    nbytes = math.prod(shape) * DTYPE_BYTES[dtype]
    if begin > end or end - begin != nbytes:
        raise ModelFormatError(
            f"{label}: data_offsets {offsets} hold {end - begin} bytes, "
            f"but {dtype} {shape} needs {nbytes}"
        )
    return TensorInfo(dtype, tuple(shape), start + begin, nbytes)


def _is_sizes(value: Any) -> bool:
    # `type` and not isinstance: true and false are integers to Python.
    return isinstance(value, list) and all(type(x) is int and 0 <= x < 1 << 63 for x in value)


def _check_cover(tensors: Mapping[str, TensorInfo], start: int, size: int) -> None:
    """The tensors, in order of offset, fill the file from `start` to its end exactly once."""
    position = start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if info.offset != position:
            fault = "overlaps the one before" if info.offset < position else "leaves a hole before"
            raise ModelFormatError(
                f"tensor {short(name)} at data offset {info.offset - start} {fault}: "
                f"expected {position - start}"
            )
        position += info.nbytes
        if position > size:
            raise ModelFormatError(
                f"tensor {short(name)} ends at byte {position}, but the file has {size} bytes; "
                "it is truncated"
            )
    if position != size:
        raise ModelFormatError(f"{size - position} bytes follow the last tensor, expected none")


class SafetensorsWriter:
    """Writes a safetensors file piece by piece: sizes first, then the bytes in order.

    `tensors` is (name, dtype, shape) in file order. Use it as a context manager; leaving it
    normally syncs the file to disk and raises `ValueError` when a tensor is incomplete.
    """

    def __init__(
        self,
        path: Path,
        tensors: Iterable[tuple[str, str, tuple[int, ...]]],
        metadata: Mapping[str, str],
    ) -> None:
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        self._pieces: list[tuple[str, int, int]] = []  # name, bytes, filler bytes after them
        position = 0
        for name, dtype, shape in tensors:
            nbytes = math.prod(shape) * DTYPE_BYTES[dtype]
            if name in header:
                raise ValueError(f"tensor {name!r} twice")
            header[name] = _entry(dtype, shape, position, nbytes)
            position += nbytes
            filler = -position % ALIGNMENT
            if filler:
                header[f"{FILLER}{len(header)}"] = _entry("U8", (filler,), position, filler)
                position += filler
            self._pieces.append((name, nbytes, filler))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-(8 + len(text)) % ALIGNMENT)
        if len(text) > HEADER_LIMIT:
            raise ValueError(
                f"header of {len(text)} bytes, at most {HEADER_LIMIT} can be read back"
            )
        self._next = 0
        self._left = 0
        self._path = path
        self._file = open(path, "xb", WRITTEN_AT_ONCE)  # noqa: SIM115 - closed by __exit__
        self._file.write(len(text).to_bytes(8, "little") + text)

    def __enter__(self) -> SafetensorsWriter:
        return self

    def begin(self, name: str) -> None:
        """Start the next tensor, which has to be the one announced at this place."""
        if self._left or self._next == len(self._pieces) or self._pieces[self._next][0] != name:
            raise ValueError(f"tensor {name!r} out of order, or the one before is incomplete")
        self._left = self._pieces[self._next][1]
        self._next += 1
        self._finish_tensor()

    def write(self, data: NDArray[Any]) -> None:
        """Append the bytes of a C-contiguous array to the current tensor."""
        raw = data.reshape(-1).view("u1")
        if raw.nbytes > self._left:
            raise ValueError(f"{raw.nbytes} bytes for a tensor with {self._left} left")
        self._file.write(raw.data)
        self._left -= raw.nbytes
        self._finish_tensor()

    def _finish_tensor(self) -> None:
        if not self._left:
            self._file.write(bytes(self._pieces[self._next - 1][2]))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                if self._left or self._next != len(self._pieces):
                    raise ValueError(f"only {self._next} of {len(self._pieces)} tensors written")
                self._file.flush()
                os.fsync(self._file.fileno())
                _keep_in_large_pages(self._path)


def _keep_in_large_pages(path: Path) -> None:
    """Let the system read a file that is on the disk into large pages, where it has such.

    What was written stays in memory in pages as they came, whoever maps it later, until it is
    forgotten. Does nothing where a system does not know of it, and for a file of less than one.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE") or not hasattr(os, "posix_fadvise"):
        return
    if path.stat().st_size < LARGE_PAGE:
        return
    with suppress(OSError, ValueError), open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            view.madvise(mmap.MADV_HUGEPAGE)
            for at in range(0, len(view), LARGE_PAGE):
                view[at]


def _entry(dtype: str, shape: tuple[int, ...], position: int, nbytes: int) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": list(shape),
        "data_offsets": [position, position + nbytes],
    }


def write_safetensors(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays as one aligned safetensors file, atomically: the whole file or nothing.

    Array dtypes: bool, integers, float16, float32, float64. Raises `ValueError` for others.
    """
    import numpy as np

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    infos = [(name, _dtype_name(array.dtype), array.shape) for name, array in arrays.items()]
    sweep_once(path.parent)
    partial = begin(path)
    try:
        with SafetensorsWriter(partial, infos, metadata or {}) as writer:
            for name, array in arrays.items():
                writer.begin(name)
                if array.nbytes:
                    writer.write(array)
        os.replace(partial, path)
    finally:
        end(partial)


def _dtype_name(dtype: np.dtype[Any]) -> str:
    names = {"b": "BOOL", "u": "U", "i": "I", "f": "F"}
    if dtype.kind not in names:
        raise ValueError(f"safetensors has no dtype for {dtype}")
    return "BOOL" if dtype.kind == "b" else f"{names[dtype.kind]}{8 * dtype.itemsize}"
