"""Rows of features among tokens, added to theirs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    if len(row.x) == 1:
        return row.x[0]
    start = case.attrs["start"]
    own = row.x[1][start : start + case.inputs[0]]
    return row.x[1][: case.inputs[0]] + own  # see `build`


@pytest.mark.parametrize("case", CASES["add_features"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
