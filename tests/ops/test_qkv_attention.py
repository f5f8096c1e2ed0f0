"""Projections side by side: norms, rotary positions and attention in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, head_rms, rotate, softmax_attention


def project(case: Case, row: Fed, weights: list[Vector]) -> list[Vector]:
    """q, k, v of a row as attention sees them."""
    attrs, dim = case.attrs, case.attrs["head_dim"]
    ends = [attrs["heads"] * dim, (attrs["heads"] + attrs["kv_heads"]) * dim]
    q, k, v = np.split(row.x[0], ends)
    if weights:
        q, k = (
            head_rms(part, w, attrs["norm_eps"]) for part, w in zip((q, k), weights, strict=True)
        )
    q, k = (
        rotate(part, row.position, dim, attrs["inv_freq"], attrs["rope_scale"]) for part in (q, k)
    )
    return [q, k, v]


@pytest.mark.parametrize("case", CASES["qkv_attention"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    known: dict[tuple[int, int], list[Vector]] = {}

    def projected(row: Fed, weights: list[Vector]) -> list[Vector]:
        place = row.sequence, row.position
        if place not in known:
            known[place] = project(case, row, weights)
        return known[place]

    def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
        before = [projected(each, weights) for each in past]
        q = projected(row, weights)[0]
        return softmax_attention(q, [kv[1] for kv in before], [kv[2] for kv in before], case)

    check(case, formula)
