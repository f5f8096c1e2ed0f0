"""How long a call took: a clock that runs only while the engine works."""

from __future__ import annotations

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
