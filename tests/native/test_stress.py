"""A few seconds of tools/stress_threads.py: threads that do everything at once, token for token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools/stress_threads.py"


@pytest.mark.fault("F50", "F52")
def test_threads_that_do_everything_at_once_get_the_tokens_they_get_alone() -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "5", "--threads", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps" in done.stdout
