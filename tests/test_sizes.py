"""No file grows past what a reader finishes in one sitting."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = ("python", "native", "tests", "tools", "benchmarks", "examples")

SUFFIXES = {".py", ".h", ".c", ".cpp", ".inl", ".cmake", ".sh"}

LIMIT = 600
"""Lines. Past this a file wants a room of its own."""


def sources() -> list[Path]:
    return sorted(
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough(path: Path) -> None:
    lines = len(path.read_bytes().splitlines())
    assert lines <= LIMIT, f"{path.relative_to(ROOT)} has {lines} lines, the limit is {LIMIT}"


def test_the_rooms_are_found() -> None:
    names = {path.relative_to(ROOT).parts[0] for path in sources()}
    assert {"python", "native", "tests", "tools"} <= names
