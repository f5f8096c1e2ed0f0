"""A short run of `tools/fuzz_weights.py`; CACTUS_FUZZ_SECONDS makes it longer than FILES."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.background import Command

FILES = 5000
SECONDS = os.environ.get("CACTUS_FUZZ_SECONDS")
LENGTH = ["--seconds", SECONDS] if SECONDS else ["--files", str(FILES)]
SEED = os.environ.get("CACTUS_FUZZ_SEED", "0")
FUZZ = Command(sys.executable, "tools/fuzz_weights.py", *LENGTH, "--seed", SEED)
BACKGROUND = [FUZZ]


@pytest.mark.fault("F01", "F13")
def test_thousands_of_damaged_files_end_in_typed_errors() -> None:
    printed = FUZZ.succeed()
    found = re.search(r"^(\d+) files in .* 0 findings", printed, re.MULTILINE)
    assert found, printed
    # It has to get past the readers too, or it proves nothing about what follows them.
    for name in ("gguf", "safetensors", "folder", "ctranslate2"):
        assert re.search(rf"^ +\d+ {name}: accepted$", printed, re.MULTILINE), printed
        assert re.search(rf"^ +\d+ {name}: ModelFormatError$", printed, re.MULTILINE), printed
    assert SECONDS or int(found[1]) == FILES
