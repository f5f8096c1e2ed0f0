"""The checks that a reviewer should not have to make: formatters, linters and types."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.background import MYPY, ROOT

BACKGROUND = [MYPY]
FOLDERS = ("python", "tests", "tools", "benchmarks", "examples")


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", *FOLDERS)


def test_python_is_formatted() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", *FOLDERS)


def test_types_are_strict() -> None:
    MYPY.succeed()


def test_cpp_is_formatted() -> None:
    suffixes = {".h", ".cpp", ".inl", ".c"}
    files = [str(p) for p in (ROOT / "native").rglob("*") if p.suffix in suffixes]
    assert len(files) > 20
    # The wheel's executable lies beside this interpreter, whatever the PATH says.
    formatter = Path(sysconfig.get_path("scripts")) / "clang-format"
    run(str(formatter), "--dry-run", "--Werror", *files)
