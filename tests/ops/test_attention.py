"""Causal attention with grouped heads, in one step or several, one sequence or several."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, seen_by, softmax_attention


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    seen = seen_by(case, row, past)
    return softmax_attention(row.x[0], [r.x[1] for r in seen], [r.x[2] for r in seen], case)


@pytest.mark.parametrize("case", CASES["attention"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
