"""Depthwise convolution along each sequence, over the borders of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    taps = case.attrs["taps"]
    out = np.zeros_like(row.x[0])
    for j in range(taps):
        t = row.position - (taps - 1) + j
        if t >= 0:
            out += weights[0][:, j] * past[t].x[0]
    return out


@pytest.mark.parametrize("case", CASES["causal_conv1d"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
