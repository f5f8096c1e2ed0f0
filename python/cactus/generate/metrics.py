"""What a call cost: a clock that runs only while the engine works, and the process's memory."""

from __future__ import annotations

import os
import sys
import time


class Stopwatch:
    """Seconds spent in the engine, on the monotonic clock; the caller's own code does not count."""

    def __init__(self, already: float = 0.0) -> None:
        self._sum = already
        self._since: float | None = None

    def start(self) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def pause(self) -> None:
        self._sum, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._sum + running


def rate(count: int, seconds: float) -> float:
    """`count` per second, and 0 where there is nothing to divide: never NaN or infinity."""
    return count / seconds if count > 0 and seconds > 0 else 0.0


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
