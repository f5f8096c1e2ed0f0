"""docs/robustness.md: each fault has a test that shows its promise, and these are collected."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.background import Command
from tests.faults import FAULTS, GROUPS

ROOT = Path(__file__).resolve().parents[2]
MARKED = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "tests").rglob("test_*.py")
    if "@pytest.mark.fault(" in path.read_text("utf-8")
)
COLLECT = Command(
    *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-m", "fault"),
    *MARKED,
)
BACKGROUND = [COLLECT]

MODULE = """
import pytest

@pytest.mark.fault("F01", "F02")
@pytest.mark.parametrize("value", [1])
def test_one(value): ...

def test_other(): ...

@pytest.mark.skipif(True, reason="")
@pytest.mark.fault("F01")
async def test_two(): ...
"""


def test_the_names_are_a_row_without_gaps() -> None:
    assert list(FAULTS) == [f"F{number:02}" for number in range(1, 86)]
    assert sum(map(len, GROUPS.values())) == len(FAULTS)


def test_each_fault_has_a_test_that_runs_on_any_machine(tool: Any) -> None:
    tests = tool("gen_robustness").marked()
    assert {name for test in tests for name in test.faults} <= set(FAULTS)
    always = {name for test in tests if not test.may_be_skipped for name in test.faults}
    assert sorted(set(FAULTS) - always) == []


def test_every_marked_test_is_collected(tool: Any) -> None:
    lines = COLLECT.succeed().splitlines()
    collected = {line.partition("[")[0] for line in lines if "::" in line}
    assert collected == {test.id for test in tool("gen_robustness").marked()}


def test_marks_are_found_without_running_anything(tool: Any, tmp_path: Path) -> None:
    for name, head in (("test_a.py", ""), ("test_b.py", "pytest.importorskip('x')\n")):
        (tmp_path / name).write_text(f"import pytest\n{head}{MODULE}")
    found = tool("gen_robustness").marked(tmp_path)
    assert [(test.path.name, test.name, test.faults, test.may_be_skipped) for test in found] == [
        ("test_a.py", "test_one", ("F01", "F02"), False),
        ("test_a.py", "test_two", ("F01",), True),
        ("test_b.py", "test_one", ("F01", "F02"), True),
        ("test_b.py", "test_two", ("F01",), True),
    ]


def test_the_tests_of_a_fault_are_printed_as_pytest_takes_them(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    robustness = tool("gen_robustness")
    monkeypatch.setattr(sys, "argv", ["tool", "F05"])
    assert robustness.main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [test.id for test in robustness.marked() if "F05" in test.faults]
    monkeypatch.setattr(sys, "argv", ["tool", "F86"])
    assert robustness.main() == 2
    assert capsys.readouterr().err == "F86 is not a fault: expected F01 to F85\n"
