"""Programs that use the package in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

HEAD = """
import json, os, signal, sys, threading, time
from cactus import *
from cactus import errors
MODEL = sys.argv[1]
HELLO = [{"role": "user", "content": "Hello"}]
"""


def start(
    code: str, *arguments: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), **(env or {})}
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", HEAD + textwrap.dedent(code)]
        + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in environment.items() if value != "(unset)"},
        cwd=cwd,
        encoding="utf-8",
    )


def run(
    code: str,
    *arguments: str | Path,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    status: int = 0,
) -> str:
    """What `code` prints; it must end with `status` and say nothing on stderr."""
    process = start(code, *arguments, env=env, cwd=cwd)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it hangs; so far it said {out!r} and {err!r}")
    assert (process.returncode, err) == (status, "")
    return out
