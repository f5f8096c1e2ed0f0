"""One op is one row of the same name in every table."""

from __future__ import annotations

from pathlib import Path

import pytest

from cactus.graph.ops import OPS, QUANTIZING
from cactus.graph.plan import NATIVE_OPS, VIEWS
from cactus.graph.reference import KERNELS
from tests.ops.cases import CASES

TESTS = Path(__file__).resolve().parent.parent / "ops"


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_is_everywhere(name: str) -> None:
    assert name in KERNELS, f"graph/reference_ops.py has no {name}"
    assert name in NATIVE_OPS or name in VIEWS, f"graph/plan.py has no {name}"
    assert CASES.get(name), f"tests/ops/cases.py has no case for {name}"
    assert (TESTS / f"test_{name}.py").is_file(), f"tests/ops has no test_{name}.py"


def test_no_table_has_a_row_of_its_own() -> None:
    for table in (KERNELS, NATIVE_OPS, CASES, dict.fromkeys(VIEWS), dict.fromkeys(QUANTIZING)):
        assert set(table) <= set(OPS)
    assert len(set(NATIVE_OPS.values())) == len(NATIVE_OPS)


def test_cases_have_names_of_their_own() -> None:
    for name, cases in CASES.items():
        assert {case.op for case in cases} == {name}
        ids = [case.id for case in cases]
        assert len(set(ids)) == len(ids), f"two cases of {name} have one id"
