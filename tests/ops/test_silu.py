"""x * sigmoid(x), also where the exponential overflows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cactus.graph.node import Node
from cactus.graph.reference import KERNELS
from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return row.x[0] / (1 + np.exp(-row.x[0]))


@pytest.mark.parametrize("case", CASES["silu"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)


def test_extremes() -> None:
    x = np.array([[-3.0e38, -80.0, -0.0, 0.0, 100.0, 3.0e38]], np.float32)
    with np.errstate(over="ignore"):
        got = KERNELS["silu"](None, Node("silu", (), 6), x)
    np.testing.assert_allclose(got, [[0, -1.443881e-33, 0, 0, 100, 3.0e38]], rtol=1e-2, atol=0)
