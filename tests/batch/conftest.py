"""What the tests of jobs share: rows in a file, and the rows of an output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """40 rows of JSON lines with an `id` and a `text`."""
    path = tmp_path / "questions.jsonl"
    rows = [{"id": f"r{n}", "text": f"Say {'x' * (n % 7)}{n}"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of an output."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def by_index(path: Path) -> list[dict[str, Any]]:
    """The lines of an output in the order of its rows, each of which is there once."""
    rows = sorted(rows_of(path), key=lambda row: row["index"])
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return rows
