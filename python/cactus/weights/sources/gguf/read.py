"""Reading GGUF files; the reader trusts nothing.

    magic "GGUF", version (2 or 3), number of tensors, number of metadata entries
    metadata   key string, type, value
    tensors    name, number of dimensions, sizes (fastest first), type, offset from the data
    padding to `general.alignment`
    data

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md is the format. Each count and length is
compared with the bytes that are left in the file before anything is allocated for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.cursor import Cursor, decode
from cactus.inputs.files import GGUF_MAGIC, RegularFile, open_with
from cactus.inputs.text import cut
from cactus.weights.sources.gguf.file import TYPES, GGUFFile, GGUFTensor
from cactus.weights.sources.gguf.split import joined, part_count

METADATA_LIMIT = 64 << 20
"""Bytes of metadata and tensor table that are read at most (real files: up to 20 MB)."""

ELEMENT_LIMIT = 1 << 22
"""Array elements in all metadata together (a vocabulary of 256,000 with merges: 1.3 million)."""

MAX_ENTRIES = 1 << 16
"""Metadata entries, and likewise tensors (real files: up to 100, and 3,000)."""

MAX_KEY = 65535
"""Longest metadata key in bytes, as the format has it."""

MAX_DIMS = 4
MAX_NAME = 64
"""Longest tensor name in bytes, as in ggml (GGML_MAX_NAME)."""

REMOVED_TYPES = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip

# Metadata types: number -> (name, struct letter).
_SCALARS = {
    0: ("uint8", "B"), 1: ("int8", "b"), 2: ("uint16", "H"), 3: ("int16", "h"),
    4: ("uint32", "I"), 5: ("int32", "i"), 6: ("float32", "f"), 7: ("bool", "B"),
    10: ("uint64", "Q"), 11: ("int64", "q"), 12: ("float64", "d"),
}  # fmt: skip
_BOOL, _STRING, _ARRAY = 7, 8, 9

# The smallest entries there can be: a one-byte name with a one-byte value, and a name with one
# dimension. What the counts promise has to fit into the bytes that are left.
_MIN_ENTRY_BYTES = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8


def read_gguf(path: Path | str) -> GGUFFile:
    """Open a GGUF file and prove its header, metadata and tensor table against its size.

    Of a model in several parts `path` is the first, and the others lie beside it.

    Raises `ModelNotFound`; `UnsupportedModel` for a version or tensor type that is not read;
    `ModelFormatError` naming the field and the byte offset for everything else.
    """
    return open_with(_parse_all, path)


class _Cursor(Cursor):
    """What strings look like here."""

    def string(self, what: str) -> str:
        at = self.position
        return decode(self.take(self.number("Q", what), what), what, at)

    def name(self, what: str, limit: int) -> str:
        """A string that can be a key: not empty, no NUL, at most `limit` bytes."""
        at = self.position
        text = self.string(what)
        if self.position - at - 8 > limit:
            raise ModelFormatError(f"{what} at byte {at} is longer than {limit} bytes")
        if not text or "\0" in text:
            raise ModelFormatError(f"{what} at byte {at} is empty or holds a NUL: {short(text)}")
        return text


def _parse_all(file: RegularFile) -> GGUFFile:
    first = _parse(file)
    if part_count(first.metadata) == 1:
        return first
    return joined(first, partial(open_with, _parse))


def _parse(file: RegularFile) -> GGUFFile:
    cursor = _Cursor(file, METADATA_LIMIT)
    version = _version(cursor)
    tensor_count: int = cursor.number("Q", "tensor count")
    entry_count: int = cursor.number("Q", "metadata count")
    for what, count, smallest in (
        ("metadata count", entry_count, _MIN_ENTRY_BYTES),
        ("tensor count", tensor_count, _MIN_TENSOR_BYTES),
    ):
        if count > cursor.left // smallest:
            raise ModelFormatError(
                f"{what} is {count}, but the {cursor.left} bytes left hold "
                f"at most {cursor.left // smallest}"
            )
        if count > MAX_ENTRIES:
            raise ModelFormatError(f"{what} is {count}, expected at most {MAX_ENTRIES}")
    metadata = _metadata(cursor, entry_count)
    alignment = _alignment(metadata)
    records = [_record(cursor, index) for index in range(tensor_count)]
    data_offset = -(-cursor.position // alignment) * alignment
    tensors: dict[str, GGUFTensor] = {}
    for record in records:
        tensor = _tensor(record, data_offset, alignment, file.size)
        if tensor.name in tensors:
            raise ModelFormatError(f"tensor {tensor.name!r} occurs twice")
        tensors[tensor.name] = tensor
    _check_cover(tensors, data_offset, alignment, file.size)
    return GGUFFile(file.path, file.size, version, metadata, tensors, data_offset, file)


def _version(cursor: _Cursor) -> int:
    magic = bytes(cursor.numbers("B", 4, "magic"))
    if magic != GGUF_MAGIC:
        raise ModelFormatError(
            f"magic is {magic!r}, expected {GGUF_MAGIC!r}; this is not a GGUF file"
        )
    version: int = cursor.number("I", "version")
    if version and not version & 0xFFFF:
        raise UnsupportedModel("version field is big-endian; only little-endian GGUF is read")
    if version not in (2, 3):
        raise ModelFormatError(
            f"version is {version}, expected 2 or 3; convert the model to GGUF again"
        )
    return version


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    budget = ELEMENT_LIMIT
    for index in range(count):
        at = cursor.position
        key = cursor.name(f"metadata key {index}", MAX_KEY)
        if key in metadata:
            raise ModelFormatError(f"metadata key {short(key)} at byte {at} occurs twice")
        kind: int = cursor.number("I", f"type of {short(key)}")
        if kind == _ARRAY:
            value = _array(cursor, cut(key), budget)
            budget -= len(value)
        else:
            value = _reader(kind, cut(key), at)(cursor, 1)[0]
        metadata[key] = value
    return metadata


def _array(cursor: _Cursor, key: str, budget: int) -> list[Any]:
    at = cursor.position
    kind: int = cursor.number("I", f"element type of {key!r}")
    if kind == _ARRAY:
        raise ModelFormatError(f"{key!r} at byte {at} is an array of arrays; none is expected")
    read = _reader(kind, key, at)
    count: int = cursor.number("Q", f"element count of {key!r}")
    smallest = 8 if kind == _STRING else struct.calcsize(_SCALARS[kind][1])
    if count > cursor.left // smallest:
        raise ModelFormatError(
            f"{key!r} at byte {at} has {count} elements, but the {cursor.left} bytes left "
            f"hold at most {cursor.left // smallest}"
        )
    if count > budget:
        raise ModelFormatError(
            f"{key!r} at byte {at} has {count} elements: more than {ELEMENT_LIMIT} in the metadata"
        )
    return read(cursor, count)


def _reader(kind: int, key: str, at: int) -> Callable[[_Cursor, int], list[Any]]:
    """A function that reads `count` values of a metadata type as a list."""
    what = f"value of {key!r}"
    if kind == _STRING:
        return lambda cursor, count: [cursor.string(what) for _ in range(count)]
    if kind not in _SCALARS:
        raise ModelFormatError(f"{key!r} at byte {at} has the unknown type {kind}")
    letter = _SCALARS[kind][1]
    if kind != _BOOL:
        return lambda cursor, count: list(cursor.numbers(letter, count, what))

    def read_bools(cursor: _Cursor, count: int) -> list[Any]:
        values = cursor.numbers(letter, count, what)
        if any(value > 1 for value in values):
            raise ModelFormatError(f"{key!r} at byte {at} is {max(values)}, expected a bool")
        return [value == 1 for value in values]

    return read_bools


def _alignment(metadata: dict[str, Any]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 8 <= value <= 1 << 16 or value & (value - 1):
        raise ModelFormatError(
            f"general.alignment is {short(value)}, expected a power of two from 8 to 65536"
        )
    return value


@dataclass(frozen=True)
class _Record:
    name: str
    sizes: tuple[int, ...]
    type: int
    offset: int


def _record(cursor: _Cursor, index: int) -> _Record:
    what = f"tensor {index}"
    name = cursor.name(f"name of {what}", MAX_NAME)
    what = f"tensor {name!r}"
    dims: int = cursor.number("I", f"dimensions of {what}")
    if not 1 <= dims <= MAX_DIMS:
        raise ModelFormatError(f"{what} has {dims} dimensions, expected 1 to {MAX_DIMS}")
    sizes = cursor.numbers("Q", dims, f"shape of {what}")
    return _Record(
        name,
        sizes,
        cursor.number("I", f"type of {what}"),
        cursor.number("Q", f"offset of {what}"),
    )


def _tensor(record: _Record, data_offset: int, alignment: int, size: int) -> GGUFTensor:
    what = f"tensor {record.name!r}"
    if record.type in REMOVED_TYPES:
        raise UnsupportedModel(
            f"{what} has the type {REMOVED_TYPES[record.type]}, which ggml has removed; "
            "get the model in another quantisation"
        )
    if record.type not in TYPES:
        raise UnsupportedModel(f"{what} has the unknown type {record.type}")
    kind = TYPES[record.type]
    elements = 1
    for dim in record.sizes:
        elements *= dim  # Python integers do not wrap; four 64-bit factors are bounded work.
        if not 0 < dim < 1 << 40 or elements >= 1 << 48:
            raise ModelFormatError(f"{what} has the impossible shape {list(record.sizes)}")
    if record.sizes[0] % kind.elements:
        raise ModelFormatError(
            f"{what} has rows of {record.sizes[0]} values, "
            f"but {kind.name} stores blocks of {kind.elements}"
        )
    nbytes = elements // kind.elements * kind.nbytes
    if record.offset % alignment:
        raise ModelFormatError(f"{what} at data offset {record.offset} is not {alignment}-aligned")
    offset = data_offset + record.offset
    if offset + nbytes > size:
        raise ModelFormatError(
            f"{what} occupies bytes {offset}..{offset + nbytes}, but the file has {size} bytes; "
            "it is truncated or lies"
        )
    return GGUFTensor(record.name, kind, tuple(reversed(record.sizes)), offset, nbytes)


def _check_cover(
    tensors: dict[str, GGUFTensor], data_offset: int, alignment: int, size: int
) -> None:
    """The tensors, in order of offset, fill the rest of the file with nothing but padding."""
    position = data_offset
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if tensor.offset != position:
            fault = "overlaps the one before" if tensor.offset < position else "leaves a hole"
            raise ModelFormatError(
                f"tensor {tensor.name!r} at byte {tensor.offset} {fault}: expected {position}"
            )
        position = -(-(tensor.offset + tensor.nbytes) // alignment) * alignment
    if size > position:
        # A table that is too short also moves the data, so all values would be wrong.
        raise ModelFormatError(f"{size - position} bytes follow the last tensor, expected none")
