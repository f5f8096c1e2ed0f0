"""The gated convolution of LFM2 in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    taps = case.attrs["taps"]
    out = np.zeros(case.weights[0][0])
    for j in range(taps):
        t = row.position - (taps - 1) + j
        if t >= 0:
            b, _, x = np.split(past[t].x[0], 3)
            out += weights[0][:, j] * b * x
    return np.split(row.x[0], 3)[1] * out


@pytest.mark.parametrize("case", CASES["short_conv"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
