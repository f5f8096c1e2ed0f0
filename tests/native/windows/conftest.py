"""The native core for Windows: cross-compiled once, in the background, run in Wine.

The room is skipped, unless the environment says CACTUS_TEST_WINDOWS=1; then the machine needs
MinGW-w64 and Wine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.background import compile_core
from tests.native.remote import Machine

ROOT = Path(__file__).resolve().parents[3]
TOOLCHAIN = ROOT / "native/cmake/x86_64-w64-mingw32.cmake"
COMPILER = "x86_64-w64-mingw32-g++-posix"
EMULATOR = "wine"
COMPILE = compile_core("windows", "cactus cactus_remote", "--toolchain", str(TOOLCHAIN))
INSTALL = "apt-get install -y g++-mingw-w64-x86-64-posix wine wine64"


WANTED = os.environ.get("CACTUS_TEST_WINDOWS") == "1"
"""Compiling it takes as long as a third of the suite: it is tested where that is asked for."""


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    if not WANTED:
        pytest.skip("the core for Windows is tested with CACTUS_TEST_WINDOWS=1")
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if missing:
        pytest.fail(f"{' and '.join(missing)} missing; install with: {INSTALL}")


@dataclass(frozen=True)
class Windows:
    """The library for Windows and how to run it here."""

    folder: Path
    prefix: Path

    def start(self) -> Machine:
        """A process of Windows with the native core."""
        environment = os.environ | {"WINEPREFIX": str(self.prefix), "WINEDEBUG": "-all"}
        command = [EMULATOR, str(self.folder / "cactus_remote.exe")]
        return Machine(command, environment)


@pytest.fixture(scope="session")
def windows(_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    COMPILE.succeed()
    prefix = tmp_path_factory.mktemp("wine")
    yield Windows(ROOT / "build" / "windows", prefix)
    server = shutil.which("wineserver") or "/usr/lib/wine/wineserver64"
    subprocess.run([server, "-k"], env=os.environ | {"WINEPREFIX": str(prefix)}, check=False)


@pytest.fixture(scope="session")
def machine(windows: Windows) -> Iterator[Machine]:
    machine = windows.start()
    yield machine
    machine.close()
