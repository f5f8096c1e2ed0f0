"""What the commands for a checkout share: its root, and the packages its tasks need.

Runs as a script, too (``python checkout.py GROUP...`` prints the requirements of dependency
groups), from an environment in which nothing is installed yet: standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def requirements(*groups: str) -> list[str]:
    """The requirements of dependency groups in the checkout's pyproject.toml."""
    wanted = _toml((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    return [requirement for group in groups for requirement in wanted[group]]


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        from pip._vendor import tomli as tomllib
    return dict(tomllib.loads(text))


if __name__ == "__main__":
    print("\n".join(requirements(*sys.argv[1:])))
