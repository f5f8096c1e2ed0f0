"""A row of a table, chosen by position."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return row.x[0] + weights[0][row.position + case.attrs["offset"]]


@pytest.mark.parametrize("case", CASES["add_position"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
