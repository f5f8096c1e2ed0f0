"""A task whose rows can end the process that does them; in a file of its own to be pickled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cactus.batch.rows import Row
from cactus.batch.task import Line, Task


class Deadly(Task):
    """A row with the column `deadly` kills its process; one with `once` only for the first time.

    `once` is a file that is made then.
    """

    @contextmanager
    def opened(self, base: Path) -> Iterator[Callable[[Iterator[Row]], Iterator[Line]]]:
        with super().opened(base) as lines_of:

            def deadly(rows: Iterator[Row]) -> Iterator[Row]:
                for row in rows:
                    once = row.values.get("once")
                    if row.values.get("deadly") or (once and not Path(once).exists()):
                        if once:
                            Path(once).touch()
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield row

            yield lambda rows: lines_of(deadly(rows))


class Slow(Task):
    """A task without a model, whose rows take the seconds that their column `seconds` says."""

    @contextmanager
    def opened(self, base: Path) -> Iterator[Callable[[Iterator[Row]], Iterator[Line]]]:
        def lines(rows: Iterator[Row]) -> Iterator[Line]:
            for row in rows:
                time.sleep(row.values["seconds"])
                made = dict.fromkeys(self.columns.new)
                yield row.index, False, self._line(replace(row), made, self.columns)

        yield lines
