"""gelu of the first half times the second half."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, gelu


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    gate, up = np.split(row.x[0], 2)
    return gelu(gate) * up


@pytest.mark.parametrize("case", CASES["geglu"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
