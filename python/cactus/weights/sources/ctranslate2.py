"""Reading CTranslate2's model.bin; the reader trusts nothing.

    version     uint32, 4 to 6
    spec        name of the kind of model, and its revision as uint32
    variables   uint32 count; each: name, uint8 rank, uint32 sizes, uint8 type, uint32 bytes, data
    aliases     uint32 count; each: another name, and the variable's
    (a name is a uint16 length, the text and a NUL that the length includes)

https://github.com/OpenNMT/CTranslate2 writes it (specs/model_spec.py). Everything is little-endian
and nothing is aligned.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cactus.errors import ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.inputs.cursor import Cursor, decode
from cactus.inputs.files import RegularFile, open_with

NAME = "model.bin"

TYPES = (("float32", 4), ("int8", 1), ("int16", 2), ("int32", 4), ("float16", 2), ("bfloat16", 2))
"""Name and bytes of each type, by its number in the file."""

VERSIONS = (4, 5, 6)
MAX_VARIABLES = 1 << 16
MAX_NAME = 512
MAX_RANK = 4

# The smallest variable there can be, a scalar of one byte with a name of one letter; likewise an
# alias. What the counts promise has to fit into the bytes that are left.
_MIN_VARIABLE_BYTES = 4 + 1 + 1 + 4 + 1
_MIN_ALIAS_BYTES = 4 + 4


@dataclass(frozen=True)
class Variable:
    """An array in the file: `type` is a name of `TYPES`, `offset` counts from the file's start."""

    type: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row, that is of the last dimension; of all for a scalar."""
        return self.nbytes // math.prod(self.shape[:-1])


@dataclass
class CTranslate2File:
    """A checked model.bin: every variable's bytes are inside it, and nothing else is.

    `variables` has aliases, too, under both names.
    """

    path: Path
    spec: str
    revision: int
    variables: dict[str, Variable]
    file: RegularFile = field(repr=False)

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Copy the raw bytes of rows [start, stop) as uint8 [stop - start, row_nbytes].

        All dimensions but the last count as rows.
        """
        variable = self.variables[name]
        width = variable.row_nbytes
        if not 0 <= start <= stop <= variable.nbytes // width:
            raise ValueError(f"{name}: rows {start}..{stop} of {variable.nbytes // width}")
        data = self.file.array(variable.offset + start * width, (stop - start) * width)
        return data.reshape(stop - start, width)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.file.close()


def is_ctranslate2(folder: Path) -> bool:
    """Whether a folder's model.bin begins like CTranslate2's, and not like a pickle."""
    try:
        file = RegularFile(folder / NAME)
    except (ModelFormatError, ModelNotFound):
        return False
    try:
        version, length = struct.unpack("<IH", file.read(0, 6)) if file.size > 6 else (0, 0)
    finally:
        file.close()
    return bool(0 < version < 100 and 1 < length < MAX_NAME)


def read_ctranslate2(path: Path | str) -> CTranslate2File:
    """Open a model.bin and prove its variables against its size.

    Raises `ModelNotFound`; `UnsupportedModel` for a version that is not read; `ModelFormatError`
    naming the field and the byte offset for everything else.
    """
    return open_with(_parse, path)


class _Cursor(Cursor):
    """What strings and counts look like here."""

    def name(self, what: str) -> str:
        at = self.position
        length = self.number("H", f"length of {what}")
        if not 1 < length <= MAX_NAME:
            raise ModelFormatError(
                f"{what} at byte {at} has {length} bytes, expected 2 to {MAX_NAME}"
            )
        raw = self.take(length, what)
        if raw[-1] or 0 in raw[:-1]:
            raise ModelFormatError(f"{what} at byte {at} does not end in its only NUL")
        return decode(raw[:-1], what, at)

    def count(self, what: str, smallest: int) -> int:
        count: int = self.number("I", f"number of {what}")
        if count > self.left // smallest or count > MAX_VARIABLES:
            raise ModelFormatError(
                f"number of {what} is {count}, but the {self.left} bytes left hold at most "
                f"{min(self.left // smallest, MAX_VARIABLES)}"
            )
        return count


def _parse(file: RegularFile) -> CTranslate2File:
    cursor = _Cursor(file)
    version = cursor.number("I", "version")
    if version not in VERSIONS:
        raise UnsupportedModel(
            f"version is {version}, expected {VERSIONS[0]} to {VERSIONS[-1]}; "
            "convert the model with a current CTranslate2, or get it as safetensors"
        )
    spec = cursor.name("spec name")
    revision = cursor.number("I", "revision")
    variables: dict[str, Variable] = {}
    for index in range(cursor.count("variables", _MIN_VARIABLE_BYTES)):
        at = cursor.position
        name = cursor.name(f"name of variable {index}")
        if name in variables:
            raise ModelFormatError(f"variable {name!r} at byte {at} occurs twice")
        variables[name] = _variable(cursor, name)
    for index in range(cursor.count("aliases", _MIN_ALIAS_BYTES)):
        at = cursor.position
        alias, name = cursor.name(f"alias {index}"), cursor.name(f"target of alias {index}")
        if alias in variables or name not in variables:
            fault = "occurs twice" if alias in variables else f"stands for {name!r}, which is none"
            raise ModelFormatError(f"alias {alias!r} at byte {at} {fault}")
        variables[alias] = variables[name]
    if cursor.left:
        raise ModelFormatError(
            f"{cursor.left} bytes follow the aliases at byte {cursor.position}, expected none"
        )
    return CTranslate2File(file.path, spec, revision, variables, file)


def _variable(cursor: _Cursor, name: str) -> Variable:
    what = f"variable {name!r}"
    at = cursor.position
    rank = cursor.number("B", f"rank of {what}")
    if rank > MAX_RANK:
        raise ModelFormatError(f"{what} at byte {at} has the rank {rank}, expected 0 to {MAX_RANK}")
    shape = tuple(cursor.number("I", f"shape of {what}") for _ in range(rank))
    if 0 in shape:
        raise ModelFormatError(f"{what} at byte {at} is empty: shape {list(shape)}")
    number = cursor.number("B", f"type of {what}")
    if number >= len(TYPES):
        raise ModelFormatError(f"{what} at byte {at} has the unknown type {number}")
    kind, item = TYPES[number]
    nbytes = cursor.number("I", f"size of {what}")
    if nbytes != math.prod(shape) * item:
        raise ModelFormatError(
            f"{what} at byte {at} has {nbytes} bytes, but {kind} {list(shape)} needs "
            f"{math.prod(shape) * item}"
        )
    return Variable(kind, shape, cursor.skip(nbytes, f"data of {what}"), nbytes)
