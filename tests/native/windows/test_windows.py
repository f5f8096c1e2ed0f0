"""The core for Windows in Wine: one library, the tiny checkpoints on every tier, and its files."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import NativeError
from cactus.native import Row
from cactus.native import _signatures as abi
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.op_runs import MATRIX_DTYPES
from tests.native.remote import Machine, RemoteProgram
from tests.native.same_bits import check_greedy, check_linear, check_op
from tests.native.windows.conftest import COMPILE, WANTED, Windows
from tests.ops.cases import CASES

BACKGROUND = [COMPILE] if WANTED else []
SYSTEM = {"KERNEL32.dll", "msvcrt.dll", "api-ms-win-core-synch-l1-2-0.dll"}
TIERS = tuple(tier for tier in programs.TIERS if not tier.startswith("amx"))
"""Those of this machine that Windows has, too."""
EXACT_TIERS = tuple(tier for tier in TIERS if tier in programs.EXACT_TIERS)

names = pytest.mark.parametrize("name", golden.NAMES)


def described(windows: Windows) -> str:
    command = ["x86_64-w64-mingw32-objdump", "-p", str(windows.folder / "cactus.dll")]
    return subprocess.check_output(command, text=True)


def test_the_library_exports_the_header_and_nothing_else(windows: Windows) -> None:
    table = described(windows).partition("[Ordinal/Name Pointer] Table")[2]
    exported = set(re.findall(r"^\s*\[ *\d+\]\s.*?(\w+)$", table, re.MULTILINE))
    assert exported == set(abi.FUNCTIONS)


def test_the_library_needs_nothing_that_windows_does_not_have(windows: Windows) -> None:
    assert set(re.findall(r"DLL Name: (\S+)", described(windows))) <= SYSTEM


def test_the_library_may_lie_anywhere_in_memory(windows: Windows) -> None:
    flags = described(windows).partition("DllCharacteristics")[2].partition("SizeOf")[0]
    assert {"HIGH_ENTROPY_VA", "DYNAMIC_BASE", "NX_COMPAT"} <= set(flags.split())


def test_the_tiers_are_those_of_this_processor(machine: Machine) -> None:
    assert tuple(machine.tiers()) == TIERS


@names
@pytest.mark.parametrize("isa", EXACT_TIERS)
def test_greedy_continuation_equals_transformers(
    name: str, isa: str, machine: Machine, packed: Packed
) -> None:
    check_greedy(machine, name, isa, packed)


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("op", sorted(CASES))
def test_an_op_gives_the_bits_of_linux(
    op: str, isa: str, machine: Machine, ops_folder: Path
) -> None:
    check_op(machine, op, isa, ops_folder)


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", MATRIX_DTYPES)
def test_linear_of_every_type_gives_the_bits_of_linux(
    dtype: str, isa: str, machine: Machine, ops_folder: Path
) -> None:
    check_linear(machine, dtype, isa, ops_folder)


@pytest.mark.parametrize("reading", ["mapped", "preload", "resident"])
def test_any_path_is_opened_and_read_in_every_way(
    reading: str, machine: Machine, packed: Packed, tmp_path: Path
) -> None:
    checkpoint, store = golden.load("lfm2"), packed("lfm2", "q4")
    plan = programs.plan_of(programs.fused(checkpoint.graph, "q4"), store)
    path = tmp_path / "Gewichte für später 模型 🌵"
    path.write_bytes(store.path.read_bytes())

    def logits(program: RemoteProgram) -> np.ndarray:
        row = Row(program.session(), checkpoint.tokens, "all")
        return programs.logits_of(program.step([row], want_logits=True))

    with machine.program(plan.blob, store.path) as program:
        want = logits(program)
    with machine.program(plan.blob, path, reading=reading) as program:
        if reading == "resident":
            os.truncate(path, 100)  # nothing of it is read any more
        np.testing.assert_array_equal(logits(program), want)


def test_a_file_that_cannot_be_used_is_named(
    machine: Machine, packed: Packed, tmp_path: Path
) -> None:
    store = packed("lfm2", "q4")
    plan = programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), store)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for name, why in (
        ("missing", r"cannot open .*missing: .+ \(Windows error 2\)"),
        ("folder", "folder: is not a regular file"),
        ("empty", "empty: is empty"),
    ):
        with pytest.raises(NativeError, match=why):
            machine.program(plan.blob, tmp_path / name)


def test_a_file_that_is_truncated_later_is_an_error(
    machine: Machine, packed: Packed, tmp_path: Path
) -> None:
    store = packed("lfm2", "q4")
    plan = programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), store)
    path = tmp_path / "weights"
    path.write_bytes(store.path.read_bytes())
    with machine.program(plan.blob, path) as program:
        session = program.session()
        os.truncate(path, 100)
        with pytest.raises(NativeError, match="truncated"):
            program.step([Row(session, [1])])
