"""Which matrices of an INT4 model get 8 bits: those that 4 bits hurt most, within a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cactus.graph.node import Node
from cactus.graph.reference_ops import KERNELS
from cactus.weights.format.layout import tile_nbytes
from cactus.weights.format.tiles import F32, dequantize_q4
from cactus.weights.rounding.calibrate import Calibration, SequenceRun, stages
from cactus.weights.rounding.quantize import quantize_q4
from cactus.weights.rounding.storage import TensorDtypes, all_floats, in_8_bits
from cactus.weights.rounding.workers import Workers


@dataclass(frozen=True)
class Unit:
    """Matrices that multiply the same value, and are merged if they have the same groups.

    `noise` is |(stored - values) x|^2 / |values x|^2 over all of them with plain 4-bit rounding.
    """

    names: tuple[str, ...]
    noise: float


def widened(tensors: TensorDtypes, calibration: Calibration, bits: float) -> TensorDtypes:
    """The tensors with units in 8 bits as long as the whole has at most `bits` bits a weight.

    Those with the most noise for each bit that they would take come first; one that does not fit is
    passed over.
    """
    shapes = {tensor.name: tensor.shape for tensor, _ in tensors}
    dtypes = {tensor.name: dtype for tensor, dtype in tensors}
    wide = all_floats(tensor for tensor, _ in tensors)
    eight = {tensor.name: in_8_bits(tensor, wide) for tensor, dtype in tensors if dtype != "plain"}
    left = bits / 8 * sum(math.prod(shape) for shape in shapes.values())
    left -= sum(_nbytes(dtypes[name], shape) for name, shape in shapes.items())

    def extra(unit: Unit) -> int:
        return sum(
            _nbytes(eight[name], shapes[name]) - _nbytes(dtypes[name], shapes[name])
            for name in unit.names
        )

    with Workers() as workers:
        units = list(_units(calibration, workers))
    for unit in sorted(units, key=lambda unit: (-unit.noise / extra(unit), unit.names)):
        if extra(unit) <= left:
            left -= extra(unit)
            dtypes |= {name: eight[name] for name in unit.names}
    return [(tensor, dtypes[tensor.name]) for tensor, _ in tensors]


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return 4 * math.prod(shape) if dtype == "plain" else tile_nbytes(dtype, *shape)


def _units(calibration: Calibration, workers: Workers) -> Iterator[Unit]:
    """All units of the model in the graph's order, as the first sequence of the text shows them."""
    words, table = calibration.embedding()
    known = set(calibration.names)
    values: dict[Node, Any] = {}
    for stage in stages(calibration.graph):
        if not known:
            return
        weights = calibration.stage_weights(stage) | table
        run = SequenceRun(words[0], weights)
        readers: dict[Node, list[Node]] = {}
        with np.errstate(all="ignore"):
            for node in stage:
                values[node] = KERNELS[node.op](run, node, *(values[x] for x in node.inputs))
                if node.op == "linear" and node.weights[0] in known:
                    known.discard(node.weights[0])
                    readers.setdefault(node.inputs[0], []).append(node)
            for source, nodes in readers.items():
                names = [node.weights[0] for node in nodes]
                group, x = calibration.groups[names[0]], values[source]
                jobs = [(weights[name], group, x) for name in names]
                error = sum(workers.map(lambda job: _error(*job), jobs))
                power = sum(
                    float(np.square(values[node], dtype=np.float64).sum()) for node in nodes
                )
                usable = power > 0 and math.isfinite(error / power)
                yield Unit(tuple(names), error / power if usable else 0.0)
        values = {stage[-1]: values[stage[-1]]}


def _error(weight: F32, group: int, x: F32) -> float:
    error = dequantize_q4(*quantize_q4(weight, group, search=False)) - weight
    return _power(x @ error.T)


def _power(values: F32) -> float:
    return float(np.square(values, dtype=np.float64).sum())
