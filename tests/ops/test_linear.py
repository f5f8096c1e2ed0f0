"""Matrix products, of several matrices side by side, with a residual, of quantised rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cactus.graph.ops import GROUPS
from cactus.graph.plan import LEVELS
from tests.ops.cases import CASES, Case
from tests.ops.formula import Fed, Vector, check, quantise


def formula(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
    out = np.concatenate([weight @ row.x[0] for weight in weights if weight.ndim == 2])
    if case.attrs.get("bias"):
        out = out + np.concatenate([weight for weight in weights if weight.ndim == 1])
    return out + row.x[1] if case.attrs.get("residual") else out


@pytest.mark.parametrize("case", CASES["linear"], ids=lambda case: case.id)
def test_formula(case: Case) -> None:
    check(case, formula)


@pytest.mark.parametrize("activations", LEVELS)
@pytest.mark.parametrize(
    ("case", "group"),
    [
        pytest.param(case, group, id=f"{case.id}-group{group}")
        for group in GROUPS
        for case in CASES["linear"]
        if case.inputs[0] % group == 0
    ],
)
def test_quantised_input(case: Case, group: int, activations: str) -> None:
    def quantised(case: Case, row: Fed, past: Sequence[Fed], weights: list[Vector]) -> Vector:
        codes, scale = quantise(row.x[0], group, activations)
        x = codes * np.repeat(scale, group)
        return formula(case, replace(row, x=[x, *row.x[1:]]), past, weights)

    check(case, quantised, quantized=group, activations=activations)
