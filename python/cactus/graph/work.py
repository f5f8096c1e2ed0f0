"""The work of a plan's step: bytes that it reads and products that it computes.

Read off the plan's records alone, so it holds for every model and says nothing of kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .dtypes import DTYPES
from .plan import BUFFER, HEADER, NATIVE_OPS, SLOT, SLOTS, STEP, WEIGHT

_OPS = {number: name for name, number in NATIVE_OPS.items()}
_NAMES = {number: name for name, number in DTYPES.items()}
_FLOATING = ("f32", "f16", "bf16")


@dataclass
class Part:
    """Bytes of weights, and products of matrices per row: of quantised ones and of others."""

    weight_bytes: int = 0
    quantized: int = 0
    floating: int = 0


@dataclass
class Work:
    """The parts of a step's work.

    `rows` is computed for every token, `outputs` for those only whose logits are wanted; the
    weights of each are read once a step, the cache's `position_bytes` for each position behind a
    token. `labels` names the plan's steps by what they do, for profiles.
    """

    rows: Part = field(default_factory=Part)
    outputs: Part = field(default_factory=Part)
    position_bytes: int = 0
    labels: list[str] = field(default_factory=list)


def read_work(blob: bytes) -> Work:
    """The work of the plan that ``build`` packed into `blob`."""
    header = HEADER.unpack_from(blob)
    counts = dict(zip(("weights", "buffers", "slots", "steps"), header[1:5], strict=True))
    at = HEADER.size
    tables = {}
    for name, record in zip(counts, (WEIGHT, BUFFER, SLOT, STEP), strict=True):
        end = at + counts[name] * record.size
        tables[name] = list(record.iter_unpack(blob[at:end]))
        at = end
    work = Work()
    for kind, heads, head_dim, quantized in tables["slots"]:
        if kind == SLOTS["kv"]:
            # int8 codes and one f32 scale, or f16.
            work.position_bytes += 2 * heads * (head_dim + 4 if quantized else 2 * head_dim)
    for step in tables["steps"]:
        op, out, n_weights = _OPS[step[0]], step[7], step[12]
        weights = [tables["weights"][index] for index in step[8 : 8 + n_weights]]
        work.labels.append(op if op != "linear" else " ".join([op, *_shape(weights)]))
        part = work.outputs if tables["buffers"][out][2] else work.rows
        for dtype, rows, cols, _, _, nbytes in weights:
            # An embedding is looked up: one row a token, next to nothing.
            part.weight_bytes += 0 if op == "embed" else nbytes
            if op == "linear" and _NAMES[dtype] not in _FLOATING:
                part.quantized += rows * cols
            elif op == "linear":
                part.floating += rows * cols
    return work


def _shape(weights: list[tuple[int, ...]]) -> Iterator[str]:
    """The type of matrices that share their input, and what they map to what."""
    yield "/".join(sorted({_NAMES[weight[0]] for weight in weights}))
    yield f"{weights[0][2]} -> {sum(weight[1] for weight in weights)}"
