"""Cosines and sines of positions: the floats next to the true values, whatever the C library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.native import programs
from tests.native.op_runs import run_native, with_logits
from tests.native.programs import EXACT_TIERS, open_on
from tests.ops.cases import Built, Case, build

HALF, POSITIONS = 32, 2048
FREQUENCIES = (10_000.0 ** -(np.arange(HALF) / HALF)).astype(np.float32)


@pytest.mark.parametrize("isa", EXACT_TIERS)
def test_a_rotation_is_rounded_to_the_nearest_float(isa: str, tmp_path: Path) -> None:
    attrs = {"head_dim": 2 * HALF, "inv_freq": tuple(FREQUENCIES.tolist()), "axes": ()}
    case = Case("rope", (2 * HALF,), (), attrs | {"scale": 1.0}, ((1000, POSITIONS - 1000),))
    plain = build(case)
    # Every row is (1, ..., 0, ...), and turned (cosines, sines).
    one = np.repeat(np.float32([[1, 0]]), HALF, axis=1)
    tensors = {name: np.tile(one, (len(value), 1)) for name, value in plain.tensors.items()}
    built = Built(case, plain.graph, tensors, plain.steps)
    graph = with_logits(built)
    packed = programs.store(graph, tensors, tmp_path / "weights", "f32")
    got = run_native(built, packed, graph, open_on(isa))
    angles = np.arange(POSITIONS, dtype=np.float32)[:, None] * FREQUENCIES
    assert angles.dtype == np.float32
    exact = angles.astype(np.float64)
    want = np.concatenate([np.cos(exact), np.sin(exact)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(got, want)
