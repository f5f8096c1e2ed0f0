"""Every op of the native core on every tier, against the reference, over the shared case table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cactus.graph.plan import VIEWS
from cactus.weights.format.layout import GROUPS
from tests.native import programs
from tests.native.op_runs import MATRIX_DTYPES, compare, fits, run_native, with_logits
from tests.native.programs import TIERS, open_on
from tests.ops.cases import CASES, Case, build
from tests.tolerances import NMSE, nmse


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("op", sorted(CASES))
def test_op(op: str, isa: str, ops_folder: Path) -> None:
    for case in CASES[op]:
        compare(case, ops_folder, "f32", open_on(isa), open_on(isa, threads=2))


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_linear_of_every_type(dtype: str, isa: str, ops_folder: Path) -> None:
    for case in CASES["linear"]:
        if fits(case, dtype):
            compare(case, ops_folder, dtype, open_on(isa), open_on(isa, threads=2))


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_experts_of_every_type(dtype: str, isa: str, ops_folder: Path) -> None:
    for case in CASES["experts"][::3]:
        matrices = case.weights[:2]
        if any(cols % GROUPS.get(dtype, 1) for _, cols in matrices):
            continue
        runs = (open_on(isa), open_on(isa, threads=2))
        for activations in ("int12", "int8") if dtype in GROUPS else ("int12",):
            got = compare(case, ops_folder, dtype, *runs, activations=activations)
            np.testing.assert_array_equal(got[0], got[1])


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", [dtype for dtype in MATRIX_DTYPES if dtype in GROUPS])
def test_linear_of_int8_activations(dtype: str, isa: str, ops_folder: Path) -> None:
    runs = (open_on(isa), open_on(isa, threads=2))
    errors = []
    for case in CASES["linear"]:
        if fits(case, dtype):
            got = compare(case, ops_folder, dtype, *runs, activations="int8")
            np.testing.assert_array_equal(got[0], got[1])
            errors.append(nmse(got[0], compare(case, ops_folder, dtype, runs[0])[0]))
    assert 1e-6 < max(errors) < NMSE["q8"]


@pytest.mark.parametrize("isa", TIERS)
def test_quantize_to_int8(isa: str, ops_folder: Path) -> None:
    for case in CASES["quantize"]:
        compare(case, ops_folder, "f32", open_on(isa), activations="int8")


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("op", ["attention", "qkv_attention", "memory_scores"])
def test_attention_over_int8(op: str, isa: str, ops_folder: Path) -> None:
    errors = []
    for case in CASES[op]:
        one, two = open_on(isa), open_on(isa, threads=2)
        got = compare(case, ops_folder, "f32", one, two, kv="int8")
        np.testing.assert_array_equal(got[0], got[1])
        errors.append(nmse(got[0], compare(case, ops_folder, "f32", one)[0]))
    assert max(errors) > 1e-6  # both are int8, and not f16


@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_embed_of_every_type(dtype: str, tmp_path: Path) -> None:
    for case in CASES["embed"]:
        if case.weights[0][1] % GROUPS.get(dtype, 1):
            continue
        built = build(case)
        graph = with_logits(built)
        packed = programs.store(graph, built.tensors, tmp_path / "weights", dtype)
        got = run_native(built, packed, graph, open_on(TIERS[-1]))
        table = packed.values["weight0"]
        tokens = [token for step in built.steps for row in step for token in row]
        np.testing.assert_array_equal(got, table[tokens])


def test_embed_of_every_half(tmp_path: Path) -> None:
    built = build(Case("embed", (), ((62, 1024),)))
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    table = halves[np.isfinite(halves)].astype(np.float32).reshape(62, 1024)
    built.tensors["weight0"] = table
    every = replace(built, steps=[[list(range(62))]])
    graph = with_logits(built)
    packed = programs.store(graph, built.tensors, tmp_path / "weights", "f16")
    assert run_native(every, packed, graph, open_on(TIERS[-1])).tobytes() == table.tobytes()


def test_gelu_erf_over_its_whole_range(tmp_path: Path) -> None:
    built = build(next(case for case in CASES["gelu_erf"] if case.inputs == (1536,)))
    values = np.linspace(-8, 8, built.tensors["input0"].size, dtype=np.float32)
    values[:6] = 0, -0.0, 1e-30, -1e-8, -3e38, 3e38
    built.tensors["input0"][:] = values.reshape(-1, 1536)
    graph = with_logits(built)
    packed = programs.store(graph, built.tensors, tmp_path / "weights")
    every = replace(built, steps=[[[row]] for row in range(len(built.tensors["input0"]))])
    found = [run_native(every, packed, graph, open_on(isa)).ravel() for isa in TIERS]
    assert len({each.tobytes() for each in found[1:]}) <= 1  # the scalar tier does not fuse
    want = [x * math.erfc(-x / math.sqrt(2)) / 2 for x in values.tolist()]
    for got in found:
        assert (np.abs(got - want) / np.maximum(np.abs(values), 1)).max() < 3e-7
        assert not got[:2].any()


def test_every_op_is_here() -> None:
    from cactus.graph.plan import NATIVE_OPS

    assert set(CASES) == set(NATIVE_OPS) | VIEWS
