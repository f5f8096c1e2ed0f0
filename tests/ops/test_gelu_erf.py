"""x times the normal distribution's function (Hendrycks and Gimpel 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return np.array([x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in row.x[0]])


@pytest.mark.parametrize("case", CASES["gelu_erf"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
