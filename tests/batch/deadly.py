"""A task whose rows can end the process that does them; in a file of its own to be pickled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cactus.batch.rows import Row
from cactus.batch.task import Line, Task


class Deadly(Task):
    """Rows end the process that does them, or others.

    With the column `deadly`; with `once` for the first time only: that is a file that is made
    then. `fatal`: the process that has begun that one. `hungry`: it takes so many MB of memory, and
    waits for what comes of it.
    """

    @contextmanager
    def opened(self, base: Path) -> Iterator[Callable[[Iterator[Row]], Iterator[Line]]]:
        with super().opened(base) as lines_of:
            yield lambda rows: lines_of(map(self._meet, rows))

    def _meet(self, row: Row) -> Row:
        once = row.values.get("once")
        if row.values.get("deadly") or (once and not Path(once).exists()):
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if row.values.get("fatal"):
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if row.values.get("hungry"):
            held = bytearray(row.values["hungry"] << 20)
            held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
            time.sleep(20)
        return row


class Slow(Task):
    """A task without a model, whose rows take the seconds that their column `seconds` says.

    Where the environment has CACTUS_TEST_SLOW, that many times as long. The `answer` is the number
    of the process, when it began and ended with the row, and `numbers` more.
    """

    @contextmanager
    def opened(self, base: Path) -> Iterator[Callable[[Iterator[Row]], Iterator[Line]]]:
        times = float(os.environ.get("CACTUS_TEST_SLOW", "1"))

        def lines(rows: Iterator[Row]) -> Iterator[Line]:
            for row in rows:
                began = time.monotonic()
                time.sleep(times * row.values["seconds"])
                more = [1 / 3] * row.values.get("numbers", 0)
                answer = [os.getpid(), began, time.monotonic(), *more]
                made = {"answer": answer, "finish_reason": None}
                yield row.index, False, self._line(row, made, self.columns)

        yield lines
