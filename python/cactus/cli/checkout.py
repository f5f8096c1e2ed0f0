"""What the commands for a checkout share: its root, and the packages its tasks need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def read_pyproject() -> dict[str, Any]:
    """The checkout's pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        from pip._vendor import tomli as tomllib
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")))


def requirements(*groups: str) -> list[str]:
    """The requirements of dependency groups in the checkout's pyproject.toml."""
    listed = read_pyproject()["dependency-groups"]
    return [requirement for group in groups for requirement in _flat(listed, group)]


def _flat(listed: dict[str, list[Any]], group: str) -> list[str]:
    flat: list[str] = []
    for entry in listed[group]:
        flat += _flat(listed, entry["include-group"]) if isinstance(entry, dict) else [entry]
    return flat
