"""What an opened GGUF file holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.inputs.files import RegularFile


@dataclass(frozen=True)
class TensorType:
    """A ggml type: `elements` values of a row are stored as one block of `nbytes` bytes."""

    name: str
    elements: int
    nbytes: int


TYPES: dict[int, TensorType] = {
    number: TensorType(name, elements, nbytes)
    for number, name, elements, nbytes in (
        (0, "F32", 1, 4), (1, "F16", 1, 2), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 36),
        (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50), (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136), (24, "I8", 1, 1), (25, "I16", 1, 2),
        (26, "I32", 1, 4), (27, "I64", 1, 8), (28, "F64", 1, 8), (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18),
    )
}  # fmt: skip


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor: `shape` slowest first as NumPy has it, `offset` from the start of the file.

    `part` is the number of its file where there are several.
    """

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    part: int = 0

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row, that is of the last dimension."""
        return self.shape[-1] // self.type.elements * self.type.nbytes


@dataclass
class GGUFFile:
    """A checked GGUF file: every tensor's bytes are inside it and belong to no other.

    `metadata` holds int, float, bool, str, and lists of one of them; `data_offset` is the
    length of everything before the tensors' data, in bytes. Of a model in several parts this is
    the first, with the tensors of all; `more` are the others.
    """

    path: Path
    size: int
    version: int
    metadata: dict[str, Any]
    tensors: dict[str, GGUFTensor]
    data_offset: int
    file: RegularFile = field(repr=False)
    more: tuple[GGUFFile, ...] = field(default=(), repr=False)

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Copy the raw bytes of rows [start, stop) as uint8 [stop - start, row_nbytes].

        All dimensions but the last count as rows.
        """
        tensor = self.tensors[name]
        width = tensor.row_nbytes
        if not 0 <= start <= stop <= tensor.nbytes // width:
            raise ValueError(f"{name}: rows {start}..{stop} of {tensor.nbytes // width}")
        file = self.more[tensor.part - 1].file if tensor.part else self.file
        data = file.array(tensor.offset + start * width, (stop - start) * width)
        return data.reshape(stop - start, width)

    def array(self, name: str) -> NDArray[np.uint8]:
        """Copy the raw bytes of a whole tensor as uint8 [rows, row_nbytes]."""
        tensor = self.tensors[name]
        return self.rows(name, 0, tensor.nbytes // tensor.row_nbytes)

    def close(self) -> None:
        """Close all files; a second call does nothing."""
        for part in (self, *self.more):
            part.file.close()
