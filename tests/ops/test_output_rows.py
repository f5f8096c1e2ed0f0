"""Only the rows that a batch asks for."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cases import CASES, Case, build, run_reference
from tests.ops.formula import feed


@pytest.mark.parametrize("case", CASES["output_rows"], ids=lambda case: case.id)
def test_kept_rows(case: Case) -> None:
    built = build(case)
    rows = feed(built)
    if case.outputs == "last":
        rows = [
            a
            for a, b in zip(rows, [*rows[1:], None], strict=True)
            if not b or b.sequence != a.sequence
        ]
    np.testing.assert_array_equal(run_reference(built), np.stack([row.x[0] for row in rows]))
