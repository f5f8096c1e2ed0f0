"""What this process may use of the machine: cores and memory, containers' limits included."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short

MAX_THREADS = 256

_SYSTEM = Path("/sys")
_PROCESS_GROUPS = Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")
_CPUS = Path("/proc/cpuinfo")


def choose_threads(wanted: int | None = None) -> int:
    """How many threads to compute with: `wanted`, else ``CACTUS_THREADS``, else physical cores.

    Zero and negative numbers mean the default; more than the logical cores that this process may
    run on is cut to those. Raises InvalidRequest for what is not a whole number.
    """
    if wanted is None:
        text = os.environ.get("CACTUS_THREADS", "").strip()
        if text:
            try:
                wanted = int(text)
            except ValueError:
                raise InvalidRequest(
                    f"CACTUS_THREADS must be a whole number, got {short(text)}"
                ) from None
    elif isinstance(wanted, bool) or not isinstance(wanted, int):
        raise InvalidRequest(f"threads must be a whole number, got {type(wanted).__name__}")
    if wanted is None or wanted <= 0:
        return physical_cores()
    return min(wanted, len(_allowed_cpus()), MAX_THREADS)


def physical_cores() -> int:
    """Physical cores that this process may run on, no more than its container's share of them.

    Two hardware threads of one core share its multipliers: the second one only adds waiting.
    """
    allowed = _allowed_cpus()
    cores = set()
    for cpu in allowed:
        topology = _SYSTEM / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        cores.add(_read(topology) or f"cpu {cpu}")
    count = len(cores)
    for folder in _control_groups("cpu"):
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        quota = quota or _read(folder / "cpu.cfs_quota_us") or ""
        period = period or _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            count = min(count, -(-int(quota) // int(period)))
    return max(1, min(count, MAX_THREADS))


def memory_bytes() -> int | None:
    """The memory that this process may use at most: the machine's, or its container's limit."""
    try:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not every system tells
        return None
    for folder in _control_groups("memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes") or ""
        if text.isdecimal():
            limit = min(limit, int(text))
    return limit


def available_bytes() -> int | None:
    """Memory available without swapping, within the container's limit; None where nobody knows.

    What a container uses counts the files that it has read, which the system drops when memory is
    needed: half of them is taken as available, as for ``MemAvailable``.
    """
    found = re.search(r"^MemAvailable: *(\d+) kB$", _read(_MEMORY) or "", re.MULTILINE)
    if found is None:
        return None
    available = int(found[1]) << 10
    for folder in _control_groups("memory"):
        for limit, usage in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most, used = _read(folder / limit) or "", _read(folder / usage) or ""
            if most.isdecimal() and used.isdecimal():
                left = int(most) - max(0, int(used) - _files_in(folder) // 2)
                available = min(available, max(0, left))
    return available


def _files_in(group: Path) -> int:
    """Bytes of files that a control group has in memory, those below it included."""
    statistics = dict(
        re.findall(r"^(\w+) (\d+)$", _read(group / "memory.stat") or "", re.MULTILINE)
    )
    prefix = "total_" if "total_cache" in statistics else ""  # in version 1
    return sum(int(statistics.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))


def cpu_name() -> str:
    """What the processor calls itself, or its architecture."""
    found = re.search(r"^model name\s*: (.+)$", _read(_CPUS) or "", re.MULTILINE)
    return found[1].strip() if found else platform.machine() or "unknown"


def can_reserve(size: int) -> bool:
    """Whether `size` bytes of address space are still available (``ulimit -v``, RLIMIT_AS)."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows has no such limit
        return True
    try:
        # Readable only and never touched: it takes no memory, and no share of what is committed.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mmap.mmap(-1, size, flags=flags, prot=mmap.PROT_READ).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True


def release_memory() -> None:
    """Give the system what was freed of memory; glibc keeps 64 MB and more for each thread."""
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _control_groups(controller: str) -> Iterator[Path]:
    """The control groups that this process is in, from its own up to the root."""
    for line in (_read(_PROCESS_GROUPS) or "").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        if controllers == "":  # version 2: one tree for all controllers
            root = _SYSTEM / "fs/cgroup"
        elif controller in controllers.split(","):
            root = _SYSTEM / "fs/cgroup" / controller
        else:
            continue
        here = Path(path.lstrip("/"))
        for part in (here, *here.parents):
            yield root / part


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return None


def resident_megabytes() -> float:
    """Resident memory of this process in MiB; where the system only tells the peak, the peak."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows has neither
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
