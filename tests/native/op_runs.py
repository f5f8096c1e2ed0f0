"""Runs the shared case table on a native program and compares with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np

from cactus.engine.options import BF16_ISAS
from cactus.graph.node import Graph, Node
from cactus.weights.format.layout import GROUPS
from tests.native import programs
from tests.native.programs import AMX_BF16, OpenProgram
from tests.ops.cases import Built, Case, build, run_reference
from tests.tolerances import assert_close

MATRIX_DTYPES = ("f32", "f16", "bf16", "q8", "q8_64", "q4", "q4_64", "q4_0", "q4_nl")


def fits(case: Case, dtype: str) -> bool:
    """Whether the case's inputs can be columns of a matrix of that type."""
    return case.inputs[0] % GROUPS.get(dtype, 1) == 0


def run_native(
    built: Built, packed: programs.Store, graph: Graph, open_program: OpenProgram, **types: str
) -> np.ndarray:
    """The rows of the node "result" after each step, read from its buffer."""
    result = graph.node("result")
    context = 4096
    if result.op == "add_position":
        context = built.case.weights[0][0] - built.case.attrs["offset"]
    plan = programs.plan_of(graph, packed, keep=True, context=context, **types)  # type: ignore[arg-type]
    buffer, column, width = plan.places["result"]
    rows = []
    most = max(sum(map(len, step)) for step in built.steps)
    with open_program(plan.blob, packed.path, chunk=max(256, most)) as program:
        sessions = [program.session() for _ in built.case.chunks]
        for step in range(len(built.steps)):
            fed = built.rows(step, sessions)
            outputs = program.step(fed)
            count = sum(row.count for row in fed)
            if result.op == "output_rows":
                count = len(outputs)
            values = program.read(buffer, count, plan.buffers[buffer].width)
            rows.append(values[:, column : column + width])
    return np.concatenate(rows)


def with_logits(built: Built) -> Graph:
    """The case's graph with logits, which a plan must have: some value's rows, as they are."""
    result = built.graph.node("result")
    if result.op == "output_rows":
        return built.graph
    first = next(node for node in built.graph.nodes if node.op in ("embed", "features"))
    outputs = Node("output_rows", (first,), first.width, name="logits")
    graph = built.graph
    return Graph((*graph.nodes, outputs), (outputs, *graph.outputs), graph.slots, graph.weights)


@dataclass(frozen=True)
class Prepared:
    """A case with stored weights and what the reference makes of it, for programs to be compared.

    Of a linear on a quantised type the inputs stay f32 (they are embeddings too): only the op's
    own matrices are packed, and its input is quantised.
    """

    built: Built
    graph: Graph
    packed: programs.Store
    want: np.ndarray


@lru_cache(maxsize=256)  # more than an op has cases: the next tier's test asks for the same ones
def prepare(case: Case, folder: Path, dtype: str, kv: str, activations: str) -> Prepared:
    """The case, its matrices stored as `dtype` in a file of their own in `folder`."""
    quantized = GROUPS.get(dtype, 0)
    built = build(case, quantized=quantized)
    graph = with_logits(built)
    matrices = {name for name in graph.weights if name.startswith("weight")}
    only = matrices if quantized else None
    path = folder / f"weights{next(_numbers)}"
    packed = programs.store(graph, built.tensors, path, dtype, only=only)
    rounded = Built(case, built.graph, built.tensors | packed.values, built.steps)
    want = run_reference(rounded, kv_dtype=kv, activations=activations, chunk=2048)
    return Prepared(rounded, graph, packed, want)


_numbers = count()


def kind_of(case: Case, dtype: str, kv: str, activations: str, isa: str) -> str:
    """The arithmetic of an op on a tier, as tests/tolerances.py names it."""
    if case.op == "bidirectional_attention" and isa in BF16_ISAS:
        return "bf16 scores"
    if case.op == "linear" and dtype in ("f16", "bf16"):
        return "bf16" if isa in BF16_ISAS else "split" if isa == "amx" else "f32"
    if isa == AMX_BF16 and activations == "int8" and (dtype in GROUPS or case.op == "quantize"):
        return "bf16 model" if case.op == "experts" else "q8"
    if dtype in GROUPS or case.op == "quantize":
        return "q12"
    return "int8 cache" if kv == "int8" else "f32"


def compare(
    case: Case,
    folder: Path,
    dtype: str,
    *open_programs: OpenProgram,
    kv: str = "f16",
    activations: str = "int12",
) -> list[np.ndarray]:
    """Compares every program's result with the reference; returns them."""
    ready = prepare(case, folder, dtype, kv, activations)
    types = {"kv": kv, "activations": activations}
    results = [
        run_native(ready.built, ready.packed, ready.graph, each, **types) for each in open_programs
    ]
    for i, (got, each) in enumerate(zip(results, open_programs, strict=True)):
        isa = getattr(each, "keywords", {}).get("isa", "")
        kind = kind_of(case, dtype, kv, activations, isa)
        assert_close(
            got, ready.want, kind, f"{case.op} {case.id} {dtype} {types}, program {i}: {kind}"
        )
    return results
