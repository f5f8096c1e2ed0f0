"""How well a query and each key of the memory fit, for one head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    dim, positions = case.attrs["head_dim"], case.attrs["positions"]
    span = slice(case.attrs["head"] * dim, (case.attrs["head"] + 1) * dim)
    scores = [case.attrs["scale"] * float(row.x[0][span] @ other.x[1][span]) for other in past]
    return np.array((scores + [0.0] * positions)[:positions])


@pytest.mark.parametrize("case", CASES["memory_scores"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
