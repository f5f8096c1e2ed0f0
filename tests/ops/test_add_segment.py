"""A row of a table for the segment of a text, which separators end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    before = sum(r.token == case.attrs["separator"] for r in past if r.position < row.position)
    result: Vector = row.x[0] + weights[0][min(before, len(weights[0]) - 1)]
    return result


@pytest.mark.parametrize("case", CASES["add_segment"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
