"""Rows from outside, as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    start = case.attrs["start"]
    return np.array(row.x[0][start : start + case.attrs["width"]])


@pytest.mark.parametrize("case", CASES["features"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
