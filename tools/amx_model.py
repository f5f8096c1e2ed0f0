"""Builds the native library with a model of AMX in place of the unit and runs tests on it.

    python tools/amx_model.py [pytest arguments]

On any CPU with avx512 and its bf16 dots: the kernels of the tiers amx and amx_bf16 compute what
they compute on the unit, to the bit, only slowly. Default tests: those of the native core that
run in every tier.
"""

from __future__ import annotations

import subprocess
import sys

from other_core import ROOT, package_with, run_tests

BUILD = ROOT / "build" / "amx_model"
TESTS = (
    *(f"tests/native/test_{name}.py" for name in ("ops", "equalities", "golden", "encoders")),
    *(f"tests/native/test_{name}.py" for name in ("text_attention", "fused", "features")),
)


def main() -> int:
    compile_core = [sys.executable, str(ROOT / "tests" / "native" / "compile.py")]
    subprocess.run([*compile_core, BUILD.name, "cactus", "-DCACTUS_AMX_MODEL=ON"], check=True)
    # A function of the model that the unit has an instruction for.
    found = package_with(BUILD, b"amx_model", {})
    return run_tests(found, sys.argv[1:] or ["-k", "amx or tiers", *TESTS])


if __name__ == "__main__":
    sys.exit(main())
