"""The package with another native library, for tests on it: the checkout's own stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# An editable install puts a finder before the path, which would find the checkout's package.
NOT_THE_CHECKOUT = """\
import sys

sys.meta_path[:] = [each for each in sys.meta_path if "ScikitBuild" not in type(each).__name__]
"""


def package_with(build: Path, mark: bytes, options: dict[str, str]) -> dict[str, str]:
    """An environment whose Python imports a copy of the package with ``build``'s library.

    ``mark`` is in that library alone: what would be loaded is looked at, and must have it.
    """
    package = build / "python" / "cactus"
    shutil.rmtree(package, ignore_errors=True)
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "python" / "cactus", package, ignore=ignore)
    shutil.copy(build / "libcactus.so", package / "native")
    (package.parent / "sitecustomize.py").write_text(NOT_THE_CHECKOUT)
    found = {**os.environ, **options, "PYTHONPATH": str(package.parent)}
    which = [sys.executable, "-c", "from cactus.native import library_path; print(library_path())"]
    loaded = Path(subprocess.check_output(which, cwd=ROOT, env=found, text=True).strip())
    if loaded.parent.parent != package or mark not in loaded.read_bytes():
        sys.exit(f"the tests would load {loaded}, which is another library")
    return found


def run_tests(environment: dict[str, str], arguments: list[str]) -> int:
    """pytest in that environment; its exit status."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode
