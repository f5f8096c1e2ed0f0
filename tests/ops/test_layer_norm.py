"""Layer norm with weight and bias (Ba et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    x = row.x[0]
    normed = (x - x.mean()) / np.sqrt(x.var() + case.attrs["eps"])
    return normed * weights[0] + (weights[1] if len(weights) > 1 else 0)


@pytest.mark.parametrize("case", CASES["layer_norm"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
