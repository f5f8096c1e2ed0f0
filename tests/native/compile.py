"""Compiles the native core with another compiler, every warning an error.

    python tests/native/compile.py arm64 "cactus cactus_remote" --toolchain FILE

The first word is a folder below `build/`, the second names targets, the rest goes to CMake.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]


def build_tool(name: str) -> str:
    """CMake or Ninja: that of this environment first."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found is not None, f"{name} is missing; install it with: pip install {name}"
    return found


def main(folder: str, targets: str, *settings: str) -> int:
    build = ROOT / "build" / folder
    build.mkdir(parents=True, exist_ok=True)
    ninja = build_tool("ninja")
    flags = ["-DCMAKE_CXX_FLAGS=-Werror", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    configure = ["-S", str(ROOT), "-B", str(build), "-G", "Ninja", *flags, *settings]
    make = ["-C", str(build), f"-j{os.cpu_count()}", *targets.split()]
    # An exception, so that what runs below is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with FileLock(build / ".lock"):
        for command in ([build_tool("cmake"), *configure], [ninja, *make]):
            status = subprocess.run(command).returncode
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
