"""Commands that take long, and run in the background until a test needs their result.

Most of the suite keeps one processor busy at most. A module of tests lists its commands as
`BACKGROUND`: they begin when the tests have been collected, with a low priority, and a test waits
for the end of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]

PRIORITY = 10
"""As low as a command runs, whoever begins it: lower still, it would stand on a busy machine."""


class Command:
    """A command that runs in the root of the checkout, once."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self._output: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, unless it was."""
        if self._process is None:
            self._output = tempfile.TemporaryFile()  # noqa: SIM115
            lower = max(0, PRIORITY - os.nice(0))
            self._process = subprocess.Popen(
                # In the session of the tests: others are not behind them, whatever the priority.
                ["nice", "-n", str(lower), *self.words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
            )

    def succeed(self) -> str:
        """What it printed; AssertionError, with that, if it failed."""
        self.begin()
        assert self._process is not None and self._output is not None
        status = self._process.wait()
        self._output.seek(0)
        printed = self._output.read().decode(errors="replace")
        assert status == 0, f"{' '.join(self.words)} ended with {status}\n{printed}"
        return printed

    def end(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        if self._output is not None:
            self._output.close()


MYPY = Command(sys.executable, "-m", "mypy")
"""The types of the package, and what a user's type checker sees of it."""


@cache
def compile_core(folder: str, targets: str, *settings: str) -> Command:
    """Compiles the native core into `build/<folder>` with other settings of CMake."""
    script = ROOT / "tests" / "native" / "compile.py"
    return Command(sys.executable, str(script), folder, targets, *settings)


def commands_of(modules: Iterable[object]) -> list[Command]:
    """The commands of some modules of tests, in their order."""
    found = [command for module in modules for command in getattr(module, "BACKGROUND", ())]
    return list(dict.fromkeys(found))
