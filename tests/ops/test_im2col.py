"""Windows of three neighbouring frames, zeros beyond the ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    per_row = len(case.inputs)
    frames = [x for r in sorted(past, key=lambda r: r.position) for x in r.x]
    frames = [np.zeros_like(frames[0]), *frames, np.zeros_like(frames[0])]
    first = row.position * per_row
    return np.concatenate(
        [
            frame
            for window in range(first, first + per_row, case.attrs["stride"])
            for frame in frames[window : window + 3]
        ]
    )


@pytest.mark.parametrize("case", CASES["im2col"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)
