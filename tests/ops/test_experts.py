"""A mixture of experts: a few of many feed-forward layers for each row, by its logits."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    attrs, (x, logits) = case.attrs, row.x
    count, rest = attrs["experts"], weights[2:]
    preference = rest.pop() if attrs["preference"] else np.zeros(count)
    if attrs["scoring"] == "softmax":
        likely = np.exp(logits) / np.exp(logits).sum()
    else:
        likely = 1 / (1 + np.exp(-logits))
    chosen = sorted(range(count), key=lambda e: (-(likely + preference)[e], e))[: attrs["top_k"]]
    total = 1.0
    if attrs["norm_eps"] is not None:
        total = sum(likely[e] for e in chosen) + attrs["norm_eps"]
    out = np.zeros_like(x)
    for e in chosen:
        inner = np.split(weights[0], count)[e] @ x
        if attrs["activation"] == "swiglu":
            gate, up = np.split(inner, 2)
            inner = gate / (1 + np.exp(-gate)) * up
        else:
            inner = np.array([v * (1 + erf(v / sqrt(2))) / 2 for v in inner])
        out += attrs["scale"] * likely[e] / total * (np.split(weights[1], count)[e] @ inner)
    return out + rest[0] if rest else out


@pytest.mark.parametrize("case", CASES["experts"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
