"""A short form of tools/soak_server.py: what a server keeps does not grow with its requests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.fault("F62")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
def test_memory_and_descriptors_stay_as_they_are(tiny_model: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tools" / "soak_server.py"), "--model", str(tiny_model)),
            *("--requests", "1500", "--idle", "300", "--slow", "4", "--loads", "60"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
