"""Root-mean-square norm of a row."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, rms


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    return rms(row.x[0], weights[0], case.attrs["eps"])


@pytest.mark.parametrize("case", CASES["rms_norm"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
