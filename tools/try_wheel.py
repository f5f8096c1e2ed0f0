"""Tries the installed package: a part of the test suite that needs no checkout and no network.

    pip install cactus-*.whl pytest pytest-timeout hypothesis
    python tools/try_wheel.py

The tests are copied to a folder of their own, so that nothing is taken from the checkout. Where
packages that cactus needs have no wheels, as with musl, --needs lists the others and --core leaves
out the tests that need them. More arguments go to pytest.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CORE = ("native/test_golden.py", "native/test_equalities.py", "native/test_generate.py")
PACKAGE = ("api/test_complete.py", "api/test_conversation.py", "api/test_structured.py")

WITHOUT_MUSL = ("llguidance", "soxr")
"""Packages that have no wheels for it: answers in a form, and sound at other rates than 16 kHz."""


def needs() -> list[str]:
    """What cactus requires without any extra, but for `WITHOUT_MUSL`."""
    found = importlib.metadata.requires("cactus") or []
    return [line for line in found if "extra ==" not in line and not line.startswith(WITHOUT_MUSL)]


def main(*arguments: str) -> int:
    found = importlib.util.find_spec("cactus")
    if found is None or found.origin is None:
        print("cactus is not installed here", file=sys.stderr)
        return 2
    if Path(found.origin).resolve().is_relative_to(ROOT / "python"):
        print(f"cactus is that of this checkout, not a wheel: {found.origin}", file=sys.stderr)
        return 2
    if arguments == ("--needs",):
        print("\n".join(needs()))
        return 0
    chosen = CORE if "--core" in arguments else CORE + PACKAGE
    rest = [argument for argument in arguments if argument != "--core"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "tests", Path(folder) / "tests")
        shutil.copy(ROOT / "pyproject.toml", folder)
        tests = [f"tests/{name}" for name in chosen]
        return subprocess.run(
            [sys.executable, "-m", "pytest", *tests, *rest], cwd=folder
        ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
