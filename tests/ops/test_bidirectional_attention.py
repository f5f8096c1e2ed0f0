"""Attention over a whole text, or over what lies around each row, with norms and rotation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, project, softmax_attention


@pytest.mark.parametrize("case", CASES["bidirectional_attention"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    known: dict[tuple[int, int], list[Vector]] = {}

    def projected(row: Fed, weights: list[Vector]) -> list[Vector]:
        place = row.sequence, row.position
        if place not in known:
            known[place] = row.x if len(row.x) == 3 else project(case, row, weights)
        return known[place]

    def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
        reach = case.attrs["reach"] or len(past)
        near = [each for each in past if abs(each.position - row.position) <= reach]
        if "within" in case.attrs:
            axis = case.attrs["within"]
            near = [each for each in near if each.given[axis] == row.given[axis]]
        seen = [projected(each, weights) for each in near]
        q = projected(row, weights)[0]
        return softmax_attention(q, [kv[1] for kv in seen], [kv[2] for kv in seen], case)

    check(case, formula)
