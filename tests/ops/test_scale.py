"""One factor for all columns."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return row.x[0] * case.attrs["factor"]


@pytest.mark.parametrize("case", CASES["scale"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
