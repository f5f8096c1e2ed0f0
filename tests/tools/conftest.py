"""Importing the scripts of tools/."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of tools/, as a script that lies there does."""
    monkeypatch.syspath_prepend(str(TOOLS))

    def named(name: str) -> ModuleType:
        return importlib.import_module(name)

    return named
