"""What an import brings in: nothing that costs time before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "PIL",
    "click",
    "filelock",
    "httpx",
    "huggingface_hub",
    "jinja2",
    "jsonschema",
    "llguidance",
    "numpy",
    "platformdirs",
    "prompt_toolkit",
    "rich",
    "soundfile",
    "soxr",
    "tokenizers",
)
LATER = ("asyncio", "ctypes", "json", "logging", "ssl", "urllib.request")


def imported_by(code: str) -> set[str]:
    """The modules that a fresh process has after `code` and had not before."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    return set(subprocess.check_output([sys.executable, "-c", script], text=True).split())


def test_importing_cactus_imports_nothing_of_it_or_of_others() -> None:
    modules = imported_by("import cactus")
    assert "cactus" in modules
    assert not modules & {*HEAVY, *LATER, "dataclasses"}
    assert [name for name in modules if name.startswith("cactus.")] == []


@pytest.mark.parametrize("name", ["Model", "cactus_init"])
def test_what_a_model_needs_is_imported_when_it_is_loaded(name: str) -> None:
    modules = imported_by(f"from cactus import {name}")
    assert "cactus.model" in modules or "cactus.api" in modules
    assert not modules & {
        *HEAVY,
        "cactus.engine.loading",
        "cactus.native",
        "cactus.nn",
        "cactus.graph",
    }


def test_the_commands_help_imports_none_of_them() -> None:
    modules = imported_by("from cactus.cli.main import run_cli; run_cli(['--help'])")
    assert "click" in modules
    assert not modules & {*HEAVY, "cactus.cli.run", "cactus.engine.loading"} - {"click"}


def test_what_models_can_do_is_known_without_them() -> None:
    modules = imported_by("from cactus.weights import advice, catalog; catalog.STARTER.runs")
    assert "cactus.models.abilities" in modules
    assert not modules & {*HEAVY, "cactus.models.base", "cactus.nn", "cactus.graph"}
