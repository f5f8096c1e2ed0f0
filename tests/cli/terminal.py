"""A command in a terminal, and what a person sees of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import pexpect
import pyte


class Terminal:
    """A command in a terminal of so many columns; `lines` is what a person sees."""

    def __init__(self, columns: int, *arguments: str) -> None:
        environment = {**os.environ, "TERM": "xterm", "PYTHONWARNINGS": "error"}
        environment.pop("NO_COLOR", None)
        self.child = pexpect.spawn(
            sys.executable, ["-m", "cactus.cli.main", *arguments],
            env=environment, encoding="utf-8", dimensions=(24, columns),
        )  # fmt: skip
        self.screen = pyte.Screen(columns, 24)
        self.stream = pyte.Stream(self.screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read(self) -> bool:
        """Takes what has come; False at the end."""
        try:
            self.stream.feed(self.child.read_nonblocking(65536, 0.1))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            return False
        return True

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.read() and time.monotonic() < deadline, self.lines

    def leave(self) -> int:
        while self.read():
            pass
        self.child.wait()
        return self.child.exitstatus
