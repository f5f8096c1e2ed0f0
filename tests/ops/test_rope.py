"""Rotary positions, of whole heads and of a part of each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, places_of, rotate


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    attrs = case.attrs
    return rotate(
        row.x[0], places_of(case, row), attrs["head_dim"], attrs["inv_freq"], attrs["scale"]
    )


@pytest.mark.parametrize("case", CASES["rope"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
