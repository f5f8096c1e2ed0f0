"""Timing single ops: the arithmetic of their shares, and that every op of the table runs."""

from __future__ import annotations

from typing import Any

import pytest

from cactus.native import MachinePeaks
from tests.native.programs import TIERS, Store, Stored
from tests.ops.cases import CASES, Case, build

PEAKS = MachinePeaks(TIERS[-1], 1, 1 << 20, 1e9, 2e9, 4e9)


def test_cost_of_a_matrix(load: Any, tmp_path: Any) -> None:
    stored = Stored("q4", 64, 32, 0, 1280, "tile")
    case = Case("linear", (32,), ((64, 32),), {}, ((1,), (1,), (3,)))
    found = load("ops").cost(case, Store(tmp_path, {"weight0": stored}, {}))
    assert found == (1280 + 5 * 32 * 4, 2 * 64 * 32 * 5, "int8")


def test_cost_of_attention(load: Any, tmp_path: Any) -> None:
    attrs = {"heads": 4, "kv_heads": 2, "head_dim": 16}
    case = Case("qkv_attention", (128,), (), attrs, ((10, 3), (1,)))
    nbytes, operations, kind = load("ops").cost(case, Store(tmp_path, {}, {}))
    # Keys and values of 13 and 1 positions in f16; rows that attend to 11, 12, 13 and 1 of them.
    assert nbytes == 4 * 128 * 4 + 14 * 2 * 2 * 16 * 2
    assert operations == (11 + 12 + 13 + 1) * 4 * 4 * 16
    assert kind == "float"
    nbytes, _, kind = load("ops").cost(case, Store(tmp_path, {}, {}), "int8")
    assert nbytes == 4 * 128 * 4 + 14 * 2 * 2 * (16 + 4)
    assert kind == "int8"


@pytest.mark.parametrize("op", sorted(set(CASES) - {"split"}))
def test_every_op_is_timed(load: Any, op: str) -> None:
    ops = load("ops")
    case = CASES[op][-1]
    (timing,) = ops.measure(case, "f32", "int12", [PEAKS], 0.0)
    assert timing.seconds > 0
    assert (timing.share is None) == (timing.bound == "")
    assert op in ops.line(timing)


def test_attention_is_timed_over_an_int8_cache(load: Any) -> None:
    ops = load("ops")
    case = CASES["qkv_attention"][-1]
    (timing,) = ops.measure(case, "f32", "int12", [PEAKS], 0.0, "int8")
    assert timing.dtype == "int8" and " int8 " in ops.line(timing)


def test_copies_of_a_matrix_are_multiplied_too(load: Any) -> None:
    ops = load("ops")
    case = Case("linear", (512,), ((512, 512),), {}, ((1,),))
    copies = ops._copies(case, "q4")
    assert copies == ops.COPIES_BYTES // (512 * 512 * 0.625) > 100
    (timing,) = ops.measure(case, "q4", "int12", [PEAKS], 0.0)
    assert timing.nbytes == 512 * 512 * 0.625 + 512 * 4
    dots = 1.5 * 2 * 512 * 512
    limit = max(timing.nbytes / PEAKS.bytes_per_second, dots / PEAKS.int8_per_second)
    assert timing.share == pytest.approx(limit / timing.seconds)


def test_sizes_of_the_models(load: Any) -> None:
    sizes = load("op_sizes")
    for architecture in sizes.MODELS.values():
        cases = list(sizes.cases_of(architecture))
        names = [sizes.describe(case) for case in cases]
        build(next(case for case in cases if case.op == "qkv_attention"))  # takes all attributes
        c = architecture.config
        assert f"{2 * c.intermediate_size} x {c.hidden_size}, rows 8 x 1" in names
        assert f"{c.heads}/{c.kv_heads} heads of {c.head_dim}, rows 1 after 4,096" in names
