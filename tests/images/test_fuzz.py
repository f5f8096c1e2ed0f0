"""A short run of `tools/fuzz_images.py`; CACTUS_FUZZ_SECONDS makes it longer than FILES."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.background import Command

FILES = 2000
SECONDS = os.environ.get("CACTUS_FUZZ_SECONDS")
LENGTH = ["--seconds", SECONDS] if SECONDS else ["--files", str(FILES)]
SEED = os.environ.get("CACTUS_FUZZ_SEED", "0")
FUZZ = Command(sys.executable, "tools/fuzz_images.py", *LENGTH, "--seed", SEED)
BACKGROUND = [FUZZ]


@pytest.mark.fault("F40")
def test_thousands_of_damaged_images_end_in_one_typed_error() -> None:
    printed = FUZZ.succeed()
    found = re.search(r"^(\d+) files in .* 0 findings", printed, re.MULTILINE)
    assert found, printed
    # Some have to get past the door, or it proves nothing about the decoders behind it.
    for kind in ("png", "jpeg", "webp", "gif", "bmp"):
        assert re.search(rf"^ +\d+ {kind}: accepted$", printed, re.MULTILINE), printed
        assert re.search(rf"^ +\d+ {kind}: InvalidImage$", printed, re.MULTILINE), printed
    assert SECONDS or int(found[1]) == FILES
