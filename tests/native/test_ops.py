"""Every op of the native core on every tier, against the reference, over the shared case table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus.graph.node import Graph, Node
from cactus.graph.plan import VIEWS
from cactus.native import Program, Row
from tests.native import programs
from tests.native.programs import TIERS
from tests.ops.cases import CASES, Built, Case, build, run_reference
from tests.tolerances import assert_close

MATRIX_DTYPES = ("f32", "f16", "bf16", "q8", "q4")


def run_native(
    built: Built, packed: programs.Store, graph: Graph, isa: str, threads: int
) -> np.ndarray:
    """The rows of the node "result" after each step, read from its buffer."""
    result = graph.node("result")
    plan = programs.plan_of(graph, packed, keep=True)
    buffer, column, width = plan.places["result"]
    rows = []
    with Program(plan.blob, packed.path, isa=isa, threads=threads) as program:
        sessions = [program.session() for _ in built.case.chunks]
        for step in built.steps:
            fed = [
                Row(session, tokens, built.case.outputs)  # type: ignore[arg-type]
                for session, tokens in zip(sessions, step, strict=True)
                if tokens
            ]
            outputs = program.step(fed)
            count = sum(len(row.tokens) for row in fed)
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
    first = next(node for node in built.graph.nodes if node.op == "embed")
    outputs = Node("output_rows", (first,), first.width, name="logits")
    everything = Graph.of([result, outputs], built.graph.slots, built.graph.weights)
    return Graph(everything.nodes, (outputs,), everything.slots, everything.weights)


def compare(case: Case, tmp_path: Path, isa: str, dtype: str) -> None:
    built = build(case)
    graph = with_logits(built)
    packed = programs.store(graph, built.tensors, tmp_path / "weights", dtype)
    rounded = Built(case, built.graph, packed.values, built.steps)
    want = run_reference(rounded, kv_dtype="f16")
    kind = "q12" if case.op == "quantize" else "f32"
    for threads in (1, 2):
        got = run_native(rounded, packed, graph, isa, threads)
        assert_close(got, want, kind, f"{case.op} {case.id} {dtype} {isa} {threads}")


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("op", sorted(CASES))
def test_op(op: str, isa: str, tmp_path: Path) -> None:
    for case in CASES[op]:
        compare(case, tmp_path, isa, "f32")


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_linear_of_every_type(dtype: str, isa: str, tmp_path: Path) -> None:
    quantized = dtype in ("q4", "q8")
    for case in CASES["linear"]:
        if not quantized:
            compare(case, tmp_path, isa, dtype)
        elif case.inputs[0] % 32 == 0:
            compare_quantized(case, tmp_path, isa, dtype)


def compare_quantized(case: Case, tmp_path: Path, isa: str, dtype: str) -> None:
    """The inputs stay f32 (they are embeddings too): only the op's own matrices are packed."""
    built = build(case, quantized=True)
    graph = with_logits(built)
    matrices = {name for name in graph.weights if name.startswith("weight")}
    packed = programs.store(graph, built.tensors, tmp_path / "weights", dtype, only=matrices)
    rounded = Built(case, built.graph, packed.values, built.steps)
    want = run_reference(rounded)
    got = run_native(rounded, packed, graph, isa, 2)
    assert_close(got, want, "q12", f"linear {case.id} {dtype} {isa}")


@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_embed_of_every_type(dtype: str, tmp_path: Path) -> None:
    for case in CASES["embed"]:
        if dtype in ("q4", "q8") and case.weights[0][1] % 32:
            continue
        built = build(case)
        graph = with_logits(built)
        packed = programs.store(graph, built.tensors, tmp_path / "weights", dtype)
        got = run_native(built, packed, graph, TIERS[-1], 1)
        table = packed.values["weight0"]
        tokens = [token for step in built.steps for row in step for token in row]
        np.testing.assert_array_equal(got, table[tokens])


def test_every_op_is_here() -> None:
    from cactus.graph.plan import NATIVE_OPS

    assert set(CASES) == set(NATIVE_OPS) | VIEWS
