"""The Gaussian error linear unit, also where its cube overflows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cactus.graph.node import Node
from cactus.graph.reference import KERNELS
from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, gelu


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return gelu(row.x[0])


@pytest.mark.parametrize("case", CASES["gelu"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)


def test_extremes() -> None:
    x = np.array([[-3.0e38, -8.0, -0.0, 0.0, 100.0, 3.0e38]], np.float32)
    with np.errstate(over="ignore"):
        got = KERNELS["gelu"](None, Node("gelu", (), 6), x)
    # At -8 the tanh is -1 in f32; -8 / (1 + exp(2 * 24.65)) is what is meant.
    np.testing.assert_allclose(got, [[0, -3.107783e-21, 0, 0, 100, 3.0e38]], rtol=1e-4, atol=1e-30)
