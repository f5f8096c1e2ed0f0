from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from cactus import machine
from cactus.errors import InvalidRequest


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up machine: 8 logical cores, two to a physical one, in no container."""
    for cpu in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(machine, "_SYSTEM", tmp_path / "sys")
    monkeypatch.setattr(machine, "_PROCESS_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CPUS", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_allowed_cpus", lambda: set(range(8)))
    monkeypatch.delenv("CACTUS_THREADS", raising=False)
    return tmp_path


def limit(system: Path, group: str, name: str, value: str) -> None:
    folder = system / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(value)


def test_the_default_is_one_thread_a_physical_core(system: Path) -> None:
    assert machine.choose_threads() == 4


@pytest.mark.fault("F57")
def test_only_cores_that_this_process_may_use_count(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_allowed_cpus", lambda: {1})
    assert machine.choose_threads() == 1
    assert machine.choose_threads(5) == 1
    monkeypatch.setattr(machine, "_allowed_cpus", lambda: {0, 4, 1})
    assert machine.choose_threads() == 2


def test_without_topology_every_logical_core_counts(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_SYSTEM", system / "nothing")
    assert machine.choose_threads() == 8


@pytest.mark.fault("F57")
@pytest.mark.parametrize("wanted", [0, -3])
def test_zero_and_negative_mean_the_default(system: Path, wanted: int) -> None:
    assert machine.choose_threads(wanted) == 4


@pytest.mark.fault("F57")
def test_a_million_threads_are_cut_to_the_cores(system: Path) -> None:
    assert machine.choose_threads(10**6) == 8
    assert machine.choose_threads(3) == 3


def test_the_environment_is_asked_when_no_argument_is_given(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACTUS_THREADS", " 2 ")
    assert machine.choose_threads() == 2
    assert machine.choose_threads(1) == 1
    monkeypatch.setenv("CACTUS_THREADS", "")
    assert machine.choose_threads() == 4


@pytest.mark.parametrize("text", ["two", "1.5", "9" * 5000])
def test_a_wrong_environment_is_named(
    system: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CACTUS_THREADS", text)
    with pytest.raises(InvalidRequest, match=r"^CACTUS_THREADS must be a whole number"):
        machine.choose_threads()


@pytest.mark.parametrize("wanted", [1.5, "2", True, [2]])
def test_threads_of_a_wrong_type_are_refused(system: Path, wanted: object) -> None:
    with pytest.raises(InvalidRequest, match="threads must be a whole number"):
        machine.choose_threads(wanted)  # type: ignore[arg-type]


def test_a_containers_share_of_the_processor_is_respected(system: Path) -> None:
    (system / "cgroup").write_text("0::/app/worker\n")
    limit(system, "app", "cpu.max", "250000 100000\n")
    limit(system, "app/worker", "cpu.max", "max 100000\n")
    assert machine.choose_threads() == 3
    assert machine.choose_threads(8) == 8, "an explicit wish is not second-guessed"


def test_so_is_the_older_kind_of_container(system: Path) -> None:
    (system / "cgroup").write_text("4:memory:/x\n3:cpu,cpuacct:/docker/1\n1:broken\n")
    limit(system, "cpu/docker/1", "cpu.cfs_quota_us", "100000\n")
    limit(system, "cpu/docker/1", "cpu.cfs_period_us", "100000\n")
    assert machine.choose_threads() == 1
    limit(system, "cpu/docker/1", "cpu.cfs_quota_us", "-1\n")
    assert machine.choose_threads() == 4


@pytest.mark.fault("F56")
def test_memory_is_the_machines_or_the_containers_limit(system: Path) -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_bytes() == total
    (system / "cgroup").write_text("0::/app\n")
    limit(system, "app", "memory.max", "max\n")
    assert machine.memory_bytes() == total
    limit(system, "", "memory.max", "1000000\n")
    assert machine.memory_bytes() == 1_000_000


def test_address_space_can_be_asked_for_without_being_used() -> None:
    assert machine.can_reserve(1 << 20)
    assert not machine.can_reserve(1 << 60)
    assert not machine.can_reserve(1 << 70)


def test_this_very_machine_has_a_core_and_memory() -> None:
    assert 1 <= machine.choose_threads() <= machine.MAX_THREADS
    assert (machine.memory_bytes() or 0) > 2**26


@pytest.mark.fault("F56")
def test_available_memory_is_the_systems_within_the_containers_limit(system: Path) -> None:
    assert machine.available_bytes() is None
    (system / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
    assert machine.available_bytes() == 2000 << 10
    (system / "cgroup").write_text("0::/box\n")
    limit(system, "box", "memory.max", "max")
    limit(system, "box", "memory.current", "5")
    assert machine.available_bytes() == 2000 << 10
    limit(system, "box", "memory.max", "100000")
    assert machine.available_bytes() == 100000 - 5
    limit(system, "box", "memory.current", "200000")
    assert machine.available_bytes() == 0
    limit(system, "box", "memory.stat", "anon 7\ninactive_file 160000\nactive_file 20000\n")
    assert machine.available_bytes() == 0
    limit(system, "box", "memory.stat", "anon 7\ninactive_file 160000\nactive_file 80000\n")
    assert machine.available_bytes() == 20000, "half of the files that the group has read"
    (system / "cgroup").write_text("4:memory:/old\n")
    limit(system, "memory/old", "memory.limit_in_bytes", "1000")
    limit(system, "memory/old", "memory.usage_in_bytes", "1000")
    below = "total_cache 9\ntotal_inactive_file 200\ntotal_active_file 0\n"
    limit(system, "memory/old", "memory.stat", f"inactive_file 0\nactive_file 0\n{below}")
    assert machine.available_bytes() == 100, "those of the groups below it, too"


def test_the_processors_name(system: Path) -> None:
    assert machine.cpu_name() == platform.machine()
    (system / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Any CPU @ 1 GHz\nflags: x\n")
    assert machine.cpu_name() == "Any CPU @ 1 GHz"
