"""Keys and values that become a session's memory: seen by what attends to it afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, softmax_attention


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return softmax_attention(row.x[0], [r.x[1] for r in past], [r.x[2] for r in past], case)


@pytest.mark.parametrize("case", CASES["store_memory"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
