"""benchmarks/checks.py takes out lines that are there."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_lines_of_every_check_are_in_the_sources_once(load: Any) -> None:
    checks = load("checks")
    for parts in checks.CHECKS.values():
        for file, lines in parts:
            text = (checks.ROOT / file).read_text("utf-8")
            assert len(checks.without(text, lines, file)) == len(text) - len(lines)


def test_lines_that_have_changed_are_named(load: Any) -> None:
    with pytest.raises(SystemExit, match="a file does not have once"):
        load("checks").without("int a;\n", "int b;\n", "a file")
