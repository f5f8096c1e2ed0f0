"""Writes the tables of docs/robustness.md, between its two markers.

python tools/gen_robustness.py          write
python tools/gen_robustness.py --check  exit 1 when the page is out of date
python tools/gen_robustness.py F07      print the tests of a fault, as pytest takes them

What can go wrong, and what is promised then, is in tests/faults.py. What shows it are the tests
that are marked `@pytest.mark.fault("F07")`; they are found without running anything.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from generated import finish_part

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "robustness.md"
TESTS = ROOT / "tests"
MARK = "pytest.mark.fault"

sys.path.insert(0, str(ROOT))
from tests.faults import FAULTS, GROUPS  # noqa: E402


@dataclass(frozen=True)
class Test:
    """A marked test."""

    path: Path
    name: str
    faults: tuple[str, ...]
    may_be_skipped: bool
    """Where the machine lacks something."""

    @property
    def id(self) -> str:
        """As pytest takes it."""
        return f"{self.path.relative_to(ROOT).as_posix()}::{self.name}"


def marked(folder: Path = TESTS) -> list[Test]:
    """All marked tests, in the order of their files."""
    return [test for path in sorted(folder.rglob("test_*.py")) for test in _of_file(path)]


def _of_file(path: Path) -> Iterator[Test]:
    text = path.read_text("utf-8")
    if MARK not in text:
        return
    tree = ast.parse(text)
    module = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign | ast.Expr)]
    some = any(
        "importorskip" in line or (line.startswith("pytestmark") and "skip" in line)
        for line in module
    )
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        marks = [ast.unparse(mark) for mark in node.decorator_list]
        names = tuple(
            ast.literal_eval(name)
            for mark in node.decorator_list
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARK
            for name in mark.args
        )
        if names:
            yield Test(path, node.name, names, some or any("skip" in mark for mark in marks))


def render() -> str:
    """A table for each group of faults, as Markdown."""
    tests = marked()
    parts = [f"{len(FAULTS)} faults, {len(tests)} tests (most of them with many cases)."]
    for group, faults in GROUPS.items():
        rows = ["| | fault | promised | shown by |", "|---|---|---|---|"]
        for fault in faults:
            shown = [test for test in tests if fault.name in test.faults]
            rows.append(f"| {fault.name} | {fault.what} | {fault.promise} | {_links(shown)} |")
        parts.append(f"### {group}\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _links(tests: list[Test]) -> str:
    """The files of some tests, with how many each has."""
    counts: dict[Path, int] = {}
    for test in tests:
        counts[test.path] = counts.get(test.path, 0) + 1
    return ", ".join(
        f"[{_short(path)}](../{path.relative_to(ROOT).as_posix()})&nbsp;{count}"
        for path, count in counts.items()
    )


def _short(path: Path) -> str:
    place = path.relative_to(TESTS).with_suffix("")
    return "/".join([*place.parts[:-1], place.name.removeprefix("test_")])


def main() -> int:
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    for name in wanted:
        if name not in FAULTS:
            print(f"{name} is not a fault: expected F01 to F{len(FAULTS)}", file=sys.stderr)
            return 2
    if wanted:
        print("\n".join(test.id for test in marked() if set(wanted) & set(test.faults)))
        return 0
    return finish_part(PAGE, render(), __file__)


if __name__ == "__main__":
    sys.exit(main())
