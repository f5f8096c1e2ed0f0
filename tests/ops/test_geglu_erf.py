"""Gated activation with the exact GELU: one half through it, times the other half."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    gate, up = np.split(row.x[0], 2)
    return up * np.array([x * (1 + erf(x / sqrt(2))) / 2 for x in gate])


@pytest.mark.parametrize("case", CASES["geglu_erf"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
