"""The core for Linux with musl, compiled by zig: the bits that it gives with glibc.

The room is skipped, unless the environment says CACTUS_TEST_MUSL=1; then the machine needs zig's
package and the loader of musl.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cactus.native import _signatures as abi
from tests.background import compile_core
from tests.models import golden
from tests.native.conftest import Packed
from tests.native.op_runs import MATRIX_DTYPES
from tests.native.programs import EXACT_TIERS, TIERS
from tests.native.remote import Machine
from tests.native.same_bits import check_greedy, check_linear, check_op
from tests.ops.cases import CASES

ROOT = Path(__file__).resolve().parents[2]
TOOLCHAIN = ROOT / "native/cmake/x86_64-linux-musl.cmake"
COMPILE = compile_core("musl", "cactus cactus_remote", "--toolchain", str(TOOLCHAIN))
LOADER = Path("/lib/ld-musl-x86_64.so.1")

WANTED = os.environ.get("CACTUS_TEST_MUSL") == "1"
"""Compiling it takes as long as a third of the suite: it is tested where that is asked for."""

BACKGROUND = [COMPILE] if WANTED else []

tiers = pytest.mark.parametrize("isa", TIERS)


@pytest.fixture(scope="module")
def build() -> Path:
    """The folder with the library and the program that offers its interface."""
    if not WANTED:
        pytest.skip("the core for musl is tested with CACTUS_TEST_MUSL=1")
    if platform.machine() != "x86_64":
        pytest.skip("the core for musl is tested on x86-64")
    missing = [
        install
        for there, install in (
            (shutil.which("python-zig"), "pip install ziglang"),
            (LOADER.exists(), "apt-get install -y musl"),
        )
        if not there
    ]
    assert not missing, f"install what is missing with: {' && '.join(missing)}"
    COMPILE.succeed()
    return ROOT / "build" / "musl"


@pytest.fixture(scope="module")
def machine(build: Path) -> Iterator[Machine]:
    machine = Machine([str(build / "cactus_remote")])
    yield machine
    machine.close()


def described(build: Path, what: str) -> str:
    command = ["readelf", "--wide", what, str(build / "libcactus.so")]
    return subprocess.check_output(command, text=True)


def test_the_library_needs_the_c_library_alone(build: Path) -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", described(build, "--dynamic"))
    assert needed == ["libc.so"]


def test_the_library_exports_the_header_and_nothing_else(build: Path) -> None:
    table = described(build, "--dyn-syms")
    exported = re.findall(r"(?:GLOBAL|WEAK)\s+DEFAULT\s+\d+ ([\w.]+)", table)
    assert set(exported) == set(abi.FUNCTIONS)


def test_the_tiers_are_those_of_this_processor(machine: Machine) -> None:
    assert tuple(machine.tiers()) == TIERS


@pytest.mark.parametrize("isa", EXACT_TIERS)
@pytest.mark.parametrize("name", golden.NAMES)
def test_greedy_continuation_equals_transformers(
    name: str, isa: str, machine: Machine, packed: Packed
) -> None:
    check_greedy(machine, name, isa, packed)


@tiers
@pytest.mark.parametrize("op", sorted(CASES))
def test_an_op_gives_the_bits_of_glibc(
    op: str, isa: str, machine: Machine, ops_folder: Path
) -> None:
    check_op(machine, op, isa, ops_folder)


@tiers
@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_linear_of_every_type_gives_the_bits_of_glibc(
    dtype: str, isa: str, machine: Machine, ops_folder: Path
) -> None:
    check_linear(machine, dtype, isa, ops_folder)
