"""Writing the tensors of a weights folder: each in its dtype, in pieces that threads share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cactus.progress import Progress
from cactus.weights.format.folder import FORMAT
from cactus.weights.format.layout import tile_nbytes
from cactus.weights.format.safetensors import SafetensorsWriter
from cactus.weights.format.tiles import pack_q4
from cactus.weights.rounding.encode import Encoded, compared, encode
from cactus.weights.rounding.storage import TensorDtypes
from cactus.weights.rounding.workers import Workers
from cactus.weights.sources.source import SourceTensor

if TYPE_CHECKING:
    from cactus.weights.rounding.calibrate import Calibration

PIECE = 1 << 18
"""Values converted at a time: a megabyte of f32, so that the working set stays near the caches."""


@dataclass(frozen=True)
class TensorReport:
    """One converted tensor.

    `error` and `power` are the sums of squares of what was lost and of the source's values, both 0
    when lossless. `output_rms` is the root of the same ratio for what the matrix makes of its
    inputs while the calibration text is read; None where that was not measured.
    """

    name: str
    source_type: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    error: float = 0.0
    power: float = 0.0
    output_rms: float | None = None

    @property
    def bits_per_weight(self) -> float:
        """Bits stored for each value, scales included."""
        return 8 * self.nbytes / math.prod(self.shape)

    @property
    def relative_rms(self) -> float:
        """|stored - source| / |source|."""
        return math.sqrt(self.error / self.power) if self.power else 0.0


def stored_nbytes(tensor: SourceTensor, dtype: str) -> int:
    """Bytes that a tensor takes in the weights folder."""
    return 4 * math.prod(tensor.shape) if dtype == "plain" else tile_nbytes(dtype, *tensor.shape)


class _Piece(NamedTuple):
    """Rows `start` to `stop` of the `rows` of a tensor, and the dtype that they get."""

    tensor: SourceTensor
    dtype: str
    start: int
    stop: int
    rows: int


def write_tensors(
    tensors: TensorDtypes,
    path: Path,
    label: str,
    progress: Progress,
    calibration: Calibration | None = None,
) -> list[TensorReport]:
    """Write the file `path`: the tensors, those that `calibration` rounds at its end.

    Raises what `encode` and `progress` raise, and `OSError`.
    """
    late = dict.fromkeys(calibration.names if calibration else ())
    by_name = {tensor.name: (tensor, dtype) for tensor, dtype in tensors}
    early = [entry for name, entry in by_name.items() if name not in late]
    total = sum(tensor.nbytes for tensor, _ in tensors)
    done = 0
    reports: list[TensorReport] = []
    header = _describe([*early, *(by_name[name] for name in late)])
    with SafetensorsWriter(path, *header) as writer, Workers() as workers:
        error = power = 0.0
        for piece, encoded in workers.map(_encode_piece, _pieces(early)):
            tensor, whole = piece.tensor, piece.stop == piece.rows
            if piece.start == 0:
                writer.begin(tensor.name)
                error = power = 0.0
            writer.write(encoded.data)
            error, power = error + encoded.error, power + encoded.power
            done += tensor.nbytes * (piece.stop - piece.start) // piece.rows
            progress(label, done, total)
            if whole:
                reports.append(_report(tensor, piece.dtype, error, power))
        for rounded in calibration.quantize(workers) if calibration else ():
            tensor, dtype = by_name[rounded.name]
            writer.begin(rounded.name)
            encoded = compared(pack_q4(*rounded.codes), rounded.values, rounded.stored)
            writer.write(encoded.data)
            done += tensor.nbytes
            progress(label, done, total)
            report = _report(tensor, dtype, encoded.error, encoded.power)
            reports.append(replace(report, output_rms=rounded.output_rms))
    return reports


def _describe(
    tensors: TensorDtypes,
) -> tuple[list[tuple[str, str, tuple[int, ...]]], dict[str, str]]:
    """The file's tensors and its metadata."""
    described = {
        tensor.name: {"dtype": dtype, "shape": list(tensor.shape)}
        for tensor, dtype in tensors
        if dtype != "plain"
    }
    infos: list[tuple[str, str, tuple[int, ...]]] = [
        (tensor.name, "F32", tensor.shape)
        if dtype == "plain"
        else (tensor.name, "U8", (tile_nbytes(dtype, *tensor.shape),))
        for tensor, dtype in tensors
    ]
    return infos, {"format": "pt", "cactus": json.dumps({"format": FORMAT, "tensors": described})}


def _pieces(tensors: TensorDtypes) -> Iterator[_Piece]:
    for tensor, dtype in tensors:
        rows = math.prod(tensor.shape[:-1])
        step = max(1, PIECE // tensor.shape[-1] // tensor.unit) * tensor.unit
        for start in range(0, rows, step):
            yield _Piece(tensor, dtype, start, min(start + step, rows), rows)


def _encode_piece(piece: _Piece) -> tuple[_Piece, Encoded]:
    raw = piece.tensor.rows(piece.start, piece.stop)
    return piece, encode(piece.tensor, piece.dtype, raw)


def _report(tensor: SourceTensor, dtype: str, error: float, power: float) -> TensorReport:
    kind, nbytes = "f32" if dtype == "plain" else dtype, stored_nbytes(tensor, dtype)
    return TensorReport(tensor.name, tensor.kind, kind, tensor.shape, nbytes, error, power)
