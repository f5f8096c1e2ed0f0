"""The tiers for AMX where there is no such unit: on a model of its instructions.

Every test of theirs that a CPU with the unit runs: against the reference, and to the bit like the
other tiers. Where the unit is, they run on it, and here is nothing to do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cactus.native import available_isas
from tests.background import Command

CPU = Path("/proc/cpuinfo")
NEEDED = "avx512_bf16"  # what these tiers have of vectors beyond avx512


def why_not() -> str:
    """Why the model is not run here, or nothing."""
    if "amx" in available_isas():
        return "this CPU has the unit itself"
    if "avx512" not in available_isas() or not CPU.exists() or NEEDED not in CPU.read_text():
        return f"this CPU has no {NEEDED}"
    return ""


TESTS = Command(sys.executable, "tools/amx_model.py")
BACKGROUND = [] if why_not() else [TESTS]


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_the_tiers_for_amx_pass_their_tests_on_a_model_of_it() -> None:
    printed = TESTS.succeed()
    assert " passed" in printed and "skipped" not in printed.splitlines()[-1]
