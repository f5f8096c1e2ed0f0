"""``python -m cactus`` is the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cactus

ROOT = Path(cactus.__file__).parent.parent


def test_the_package_runs_as_the_command() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cactus", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: cactus ")
    assert run("no-such-command").returncode == 2
