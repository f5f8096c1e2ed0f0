"""A short run of `tools/fuzz_weights.py`; CACTUS_FUZZ_SECONDS and CACTUS_FUZZ_SEED set it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "fuzz_weights.py"


def test_thousands_of_damaged_files_end_in_typed_errors(tmp_path: Path) -> None:
    seconds = os.environ.get("CACTUS_FUZZ_SECONDS", "30")
    seed = os.environ.get("CACTUS_FUZZ_SEED", "0")
    command = [sys.executable, str(TOOL), "--seconds", seconds, "--seed", seed]
    run = subprocess.run(
        [*command, "--keep", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    found = re.search(r"^(\d+) files in .* 0 findings", run.stdout, re.MULTILINE)
    assert found, run.stdout
    # It has to get past the readers too, or it proves nothing about what follows them.
    for name in ("gguf", "safetensors", "folder", "ctranslate2"):
        assert re.search(rf"^ +\d+ {name}: accepted$", run.stdout, re.MULTILINE), run.stdout
        assert re.search(rf"^ +\d+ {name}: ModelFormatError$", run.stdout, re.MULTILINE), run.stdout
    assert int(found[1]) > 20 * float(seconds)
