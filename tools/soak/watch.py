"""What a process uses of the machine, and whether that stays as it is."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

MEASURED = ("memory", "anonymous memory", "in use", "descriptors", "threads", "children")
"""What may not grow; "in use" are the bytes of the blocks that malloc and Python have given out."""
BYTES = MEASURED[:3]
GROWTH = 0.05
IN_USE = 0.02
"""What is in use may grow by less: neither free blocks nor large pages of the system count."""


def seen(pid: int) -> dict[str, int]:
    """Bytes of resident memory, open descriptors, threads and child processes.

    Anonymous memory is what no file has: the system cannot take it away when others need memory.
    Of it are huge pages, which are resident as a whole once any of their bytes is used.
    """
    home = Path(f"/proc/{pid}")
    lines = "".join((home / name).read_text() for name in ("status", "smaps_rollup"))
    resident = dict(re.findall(r"^(\w+):\s+(\d+) kB$", lines, re.MULTILINE))
    return {
        "memory": int(resident["VmRSS"]) << 10,
        "anonymous memory": int(resident["RssAnon"]) << 10,
        "huge pages": int(resident["AnonHugePages"]) << 10,
        "descriptors": len(os.listdir(home / "fd")),
        "threads": len(os.listdir(home / "task")),
        "children": len(children(pid)),
    }


def children(pid: int) -> list[int]:
    """The processes that a process has begun, and that have not been waited for."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has asked for its status has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tenths(values: Sequence[float]) -> tuple[float, float]:
    """The mean of the second tenth, when everything has been used once, and of the last."""
    size = max(1, len(values) // 10)
    second, last = values[size : 2 * size] or values[:1], values[-size:]
    return sum(second) / len(second), sum(last) / len(last)


def grown(values: Sequence[float], growth: float = GROWTH) -> bool:
    """Whether the last tenth is more than a twentieth above the second."""
    second, last = tenths(values)
    return last > second * (1 + growth)
