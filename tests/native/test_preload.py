"""Weights that are read in the background: present soon, and never in the way."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from cactus import Model, native
from cactus.errors import ModelFormatError, NativeError
from cactus.graph.plan import Plan
from cactus.native import Program, Row
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed

SMAPS = Path("/proc/self/smaps")
LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


@pytest.fixture
def plan(packed: Packed) -> Plan:
    return programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), packed("lfm2", "q4"))


def present(path: Path) -> tuple[int, int]:
    """Bytes of the file's mapping that are in this process's page tables, and all of them."""
    text = SMAPS.read_text()
    found = re.search(rf"{re.escape(str(path))}\nSize: +(\d+) kB\n(?:.*\n)*?Rss: +(\d+) kB", text)
    assert found is not None
    return int(found[2]), int(found[1])


def wait_until_present(path: Path, seconds: float) -> tuple[int, int]:
    deadline = time.monotonic() + seconds
    while (now := present(path))[0] < now[1] and time.monotonic() < deadline:
        time.sleep(0.01)
    return now


@pytest.mark.skipif(not SMAPS.exists(), reason="no /proc")
def test_all_pages_become_present(starter_folder: Path) -> None:
    path = (starter_folder / "model.safetensors").resolve()
    with Model(starter_folder, threads=1):
        some, size = present(path)
        assert some < size
    # Some systems page out what nobody has touched for a minute, also while it is read in.
    for _ in range(6):
        with Model(starter_folder, threads=1, preload=True) as model:
            now = wait_until_present(path, 10)
            assert model.chat([{"role": "user", "content": "Hi"}], max_tokens=1).text
        if now == (size, size):
            break
    assert now == (size, size)


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="this system has no large pages")
def test_large_pages_are_asked_for(starter_folder: Path) -> None:
    path = (starter_folder / "model.safetensors").resolve()
    with Model(starter_folder, threads=1):
        found = re.search(rf"{re.escape(str(path))}\n(?:.*\n)*?VmFlags:(.*)\n", SMAPS.read_text())
    assert found is not None
    assert "hg" in found[1].split()


@pytest.mark.skipif(not SMAPS.exists(), reason="no /proc")
def test_closing_at_once_leaves_nothing_behind(starter_folder: Path) -> None:
    before = set(os.listdir("/proc/self/task"))
    for _ in range(20):
        Model(starter_folder, threads=1, preload=True).close()
    assert str(starter_folder) not in SMAPS.read_text()
    deadline = time.monotonic() + 60  # a thread that is done still has to leave
    while set(os.listdir("/proc/self/task")) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(os.listdir("/proc/self/task")) <= before


def test_a_plan_that_is_refused_ends_the_reading(plan: Plan, packed: Packed) -> None:
    with pytest.raises(NativeError):
        Program(plan.blob[:-1], packed("lfm2", "q4").path, preload=True)


@pytest.mark.fault("F11")
def test_a_file_that_is_truncated_meanwhile_is_an_error(
    plan: Plan, packed: Packed, tmp_path: Path
) -> None:
    data = packed("lfm2", "q4").path.read_bytes()
    path = tmp_path / "weights"
    for _ in range(20):
        path.write_bytes(data)
        with native.Program(plan.blob, path, threads=1, preload=True) as program:
            os.truncate(path, 100)
            session = program.session()
            with pytest.raises(ModelFormatError, match="truncated"):
                program.step([Row(session, [1])])


@pytest.mark.fault("F55")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_closes_what_its_parent_preloads(starter_folder: Path) -> None:
    with Model(starter_folder, threads=1, preload=True) as model:
        child = os.fork()
        if child == 0:
            model.close()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
