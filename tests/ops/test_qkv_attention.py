"""Projections side by side: norms, rotary positions and attention in one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, project, seen_by, softmax_attention


@pytest.mark.parametrize("case", CASES["qkv_attention"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    known: dict[tuple[int, int], list[Vector]] = {}

    def projected(row: Fed, weights: list[Vector]) -> list[Vector]:
        place = row.sequence, row.position
        if place not in known:
            known[place] = project(case, row, weights)
        return known[place]

    def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
        before = [projected(each, weights) for each in seen_by(case, row, past)]
        q = projected(row, weights)[0]
        return softmax_attention(q, [kv[1] for kv in before], [kv[2] for kv in before], case)

    check(case, formula)
