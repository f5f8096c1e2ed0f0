"""What `from cactus import ...` offers, and that importing it costs nothing until it is used."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cactus

ROOT = Path(__file__).parent.parent


def test_all_is_sorted_and_every_name_of_it_exists() -> None:
    assert cactus.__all__ == sorted(cactus.__all__)
    for name in cactus.__all__:
        assert getattr(cactus, name) is not None


def test_all_and_the_homes_and_the_type_checkers_view_agree() -> None:
    assert sorted(cactus._HOMES) == cactus.__all__
    tree = ast.parse(Path(cactus.__file__).read_text("utf-8"))
    seen: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cactus"):
            for alias in node.names:
                module = f"cactus.{alias.name}" if node.module == "cactus" else node.module
                seen[alias.asname or alias.name] = str(module)
    assert seen == cactus._HOMES


def test_dir_lists_the_public_names() -> None:
    assert set(cactus.__all__) <= set(dir(cactus))


def test_public_objects_say_what_they_are() -> None:
    for name in cactus.__all__:
        assert (getattr(cactus, name).__doc__ or "").strip(), f"{name} has no docstring"


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cactus' has no attribute 'nonsense'"):
        _ = cactus.nonsense


def test_the_version_is_that_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert re.search(r'^version = "(.+)"$', project, re.M)[1] == cactus.__version__  # type: ignore[index]


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
    )
    return set(run.stdout.split())


# What takes long to import, and is needed only once a model is loaded or a command runs.
HEAVY = {"numpy", "tokenizers", "jinja2", "huggingface_hub", "httpx", "click", "rich", "asyncio"}


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = modules_after("import cactus")
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("cactus.")}


# They work on arrays, so their own module needs the library of arrays, and that alone.
ARRAYS = {"AudioStream", "Embeddings", "Speech", "detect_speech", "open_audio"}


def test_importing_every_public_name_loads_no_library() -> None:
    names = ", ".join(sorted(set(cactus.__all__) - ARRAYS))
    assert not modules_after(f"from cactus import {names}") & HEAVY
    assert modules_after("from cactus import *") & HEAVY <= {"numpy"}


def test_every_public_name_is_documented() -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert [name for name in cactus.__all__ if not re.search(rf"\b{name}\b", pages)] == []
