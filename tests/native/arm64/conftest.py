"""The native core for arm64: cross-compiled once, in the background, run in an emulator.

The machine needs a cross compiler and qemu. Without them the room is skipped, unless the
environment says CACTUS_TEST_ARM=1, as .ci/run does.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.background import compile_core
from tests.native.remote import Machine

ROOT = Path(__file__).resolve().parents[3]
TOOLCHAIN = ROOT / "native/cmake/aarch64-linux-gnu.cmake"
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64-static"
COMPILE = compile_core("arm64", "cactus cactus_remote", "--toolchain", str(TOOLCHAIN))
INSTALL = "apt-get install -y g++-aarch64-linux-gnu qemu-user-static"


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if not missing:
        return
    if platform.machine().lower() in ("aarch64", "arm64"):
        pytest.skip("this machine is arm64 itself: tests/native runs its tiers")
    why = f"{' and '.join(missing)} missing; install with: {INSTALL}"
    if os.environ.get("CACTUS_TEST_ARM") == "1":
        pytest.fail(f"CACTUS_TEST_ARM=1, but {why}")
    pytest.skip(why)


@dataclass(frozen=True)
class Arm64:
    """The library for arm64 and how to run it here."""

    remote: Path

    def start(self, cpu: str) -> Machine:
        """The native core on an emulated processor of that name, as qemu calls it."""
        asked = [COMPILER, "-print-file-name=libc.so.6"]
        library = Path(subprocess.check_output(asked, text=True).strip())
        prefix = library.resolve().parent.parent
        return Machine([EMULATOR, "-cpu", cpu, "-L", str(prefix), str(self.remote)])


@pytest.fixture(scope="session")
def arm64(_tools: None) -> Arm64:
    COMPILE.succeed()
    return Arm64(ROOT / "build" / "arm64" / "cactus_remote")


@pytest.fixture(scope="session")
def machine(arm64: Arm64) -> Iterator[Machine]:
    """A processor that has all of it."""
    machine = arm64.start("max")
    yield machine
    machine.close()
