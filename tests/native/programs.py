"""Native programs for tests: any graph with any weights, stored in any type, on any tier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus import native
from cactus.engine.options import BF16_ISAS
from cactus.graph.node import Graph
from cactus.graph.plan import Plan, build, with_int8_activations, with_int8_kv
from cactus.native import Output, Program, Row
from cactus.weights.format.layout import GROUPS, LEVELS
from cactus.weights.format.tiles import dequantize_tile, pack_plain, pack_q4, pack_q8
from cactus.weights.rounding.quantize import quantize_q4, quantize_q8
from tests.models.golden import fused as fused
from tests.models.golden import stored_dtype

TIERS = native.available_isas()
EXACT_TIERS = tuple(tier for tier in TIERS if tier not in BF16_ISAS)
"""Those whose numbers lie close to one another."""
BF16_TIERS = tuple(tier for tier in BF16_ISAS if tier in TIERS)
"""The others, which are for encoders."""
ENCODER_TIER = (*BF16_TIERS, EXACT_TIERS[-1])[0]
"""What an encoder takes whose matrices are rounded."""
AMX_BF16 = "amx_bf16"
"""The one that also multiplies activations of 8 bits in bf16, and attends in it."""

DECODER_DTYPES = ("q4", "q4_64", "q4_0", "q4_nl", "q8", "f16")
DECODERS = [
    *((name, dtype) for name in ("llama", "lfm2") for dtype in DECODER_DTYPES),
    ("gemma3_text", "q8"),  # layers with a window
]
"""Architectures, and types of their matrices, that answers are written with."""

OpenProgram = Callable[..., Any]
"""``cactus.native.Program``, with some options set, or what makes one on another machine."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the file that ``store`` wrote."""

    dtype: str
    rows: int
    cols: int
    offset: int
    nbytes: int
    layout: str


@dataclass(frozen=True)
class Store:
    """A file of packed tensors, what it holds, and what the values are after the rounding."""

    path: Path
    tensors: dict[str, Stored]
    values: dict[str, NDArray[np.float32]]


def pack(value: NDArray[np.float32], dtype: str) -> NDArray[np.uint8]:
    """A matrix as tiles of that type."""
    if dtype in ("q4", "q4_64"):
        return pack_q4(*quantize_q4(value, GROUPS[dtype]))
    if dtype == "q4_0":
        # As Q4_0 does it: the value of largest magnitude is code 0.
        groups = value.reshape(len(value), -1, 32)
        largest = np.take_along_axis(groups, np.abs(groups).argmax(2)[..., None], 2)
        scales = (largest / -8).astype(np.float16)
        steps = groups / np.where(scales == 0, 1, scales).astype(np.float32)
        codes = np.clip(np.rint(steps + 8), 0, 15).astype(np.uint8)
        return pack_q4(codes.reshape(value.shape), scales[..., 0])
    if dtype == "q4_nl":
        # The value of largest magnitude is the last level, so that no other is out of reach.
        groups = value.reshape(len(value), -1, 32)
        largest = np.take_along_axis(groups, np.abs(groups).argmax(2)[..., None], 2)
        scales = (largest / LEVELS[-1]).astype(np.float16)
        steps = groups / np.where(scales == 0, 1, scales).astype(np.float32)
        codes = np.searchsorted([(a + b) / 2 for a, b in pairwise(LEVELS)], steps)
        return pack_q4(codes.astype(np.uint8).reshape(value.shape), scales[..., 0])
    if dtype in ("q8", "q8_64"):
        return pack_q8(*quantize_q8(value, GROUPS[dtype]))
    if dtype == "bf16":
        return pack_plain((value.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8).ravel()
    kind = np.float16 if dtype == "f16" else np.float32
    return np.ascontiguousarray(pack_plain(value.astype(kind))).view(np.uint8).ravel()


def store(
    graph: Graph,
    tensors: Mapping[str, Any],
    path: Path,
    dtype: str = "f32",
    only: set[str] | None = None,
) -> Store:
    """Write the graph's tensors; matrices (all, or ``only`` some) are tiles of ``dtype``."""
    matrices = {
        name
        for node in graph.nodes
        if node.op in ("linear", "embed", "experts")
        for name in node.weights
        if len(graph.weights[name]) == 2
    }
    stored: dict[str, Stored] = {}
    values: dict[str, NDArray[np.float32]] = {}
    with path.open("wb") as file:
        file.write(b"\0" * 64)  # no file is empty, not even that of an op without weights
        for name in graph.weights:
            value = np.ascontiguousarray(tensors[name], np.float32)
            file.write(b"\0" * (-file.tell() % 64))
            offset = file.tell()
            if name in matrices:
                rows, cols = value.shape
                kind = stored_dtype(dtype, cols) if only is None or name in only else "f32"
                data = pack(value, kind)
                values[name] = dequantize_tile(kind, data, rows, cols)
                stored[name] = Stored(kind, rows, cols, offset, data.nbytes, "tile")
            else:
                data = value.view(np.uint8).ravel()
                values[name] = value
                rows, cols = (1, value.size) if value.ndim == 1 else value.shape
                stored[name] = Stored("f32", rows, cols, offset, data.nbytes, "plain")
            file.write(data.tobytes())
    return Store(path, stored, values)


def plan_of(
    graph: Graph,
    packed: Store,
    *,
    keep: bool = False,
    context: int = 4096,
    kv: str = "f16",
    activations: str = "int12",
) -> Plan:
    """The plan of a graph over packed weights."""
    width = graph.outputs[0].width
    plan = build(graph, packed.tensors, vocab_size=width, context_length=context, keep=keep)
    blob = plan.blob if kv == "f16" else with_int8_kv(plan.blob)
    return replace(plan, blob=blob if activations == "int12" else with_int8_activations(blob))


def load(
    graph: Graph,
    packed: Store,
    kv: str = "f16",
    activations: str = "int12",
    *,
    context: int = 4096,
    **options: Any,
) -> Program:
    """A program of the graph as given (call ``fused`` first for what users run)."""
    plan = plan_of(graph, packed, context=context, kv=kv, activations=activations)
    return Program(plan.blob, packed.path, **options)


def open_on(isa: str, threads: int = 1) -> OpenProgram:
    """Programs of one tier of this machine."""
    return partial(Program, isa=isa, threads=threads)


def dump(plan: Plan, program: Program, rows: int) -> dict[str, NDArray[np.float32]]:
    """Every node's value after a step, of a plan built with ``keep``; all rows were outputs."""
    buffers = [program.read(i, rows, buffer.width) for i, buffer in enumerate(plan.buffers)]
    return {
        name: buffers[buffer][:, column : column + width]
        for name, (buffer, column, width) in plan.places.items()
    }


def logits_of(outputs: list[Output]) -> NDArray[np.float32]:
    """The logits of some outputs, stacked."""
    return np.stack([output.logits for output in outputs if output.logits is not None])


def prefill(program: Program, session: Any, tokens: list[int], chunk: int) -> NDArray[np.float32]:
    """All logits of a prompt that is fed in chunks."""
    parts = [
        logits_of(program.step([Row(session, tokens[i : i + chunk], "all")], want_logits=True))
        for i in range(0, len(tokens), chunk)
    ]
    return np.concatenate(parts)
