"""The real server as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import httpx

from tests.server.running import PATIENCE, until


class Process:
    """`cactus serve` as people start it; `run` is how Python is told to."""

    def __init__(
        self, *arguments: str, run: tuple[str, ...] = ("-m", "cactus"), **environment: str
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", *run, "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "CACTUS_THREADS": "1", **environment},
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline().strip()
        self.url = self.first.removeprefix("Cactus at ")

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE)

    def up(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            with suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/live").status_code == 200
            return False

        until(answers)

    def end(self) -> None:
        """End it in any case."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
