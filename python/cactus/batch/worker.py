"""What runs in a process of `workers`: a share of the rows of a job."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from typing import IO, Any

from cactus.errors import CactusError


def main() -> None:
    """Read a task from stdin and write its lines to stdout; end when stdin does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # whatever a library prints
    task, done = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    with suppress(BrokenPipeError):
        try:
            for line in task.lines(done):
                _write(target, line)
            _write(target, None)
        except (CactusError, OSError, MemoryError) as error:
            _write(target, error)
    os._exit(0)  # the thread may be in the middle of reading


def _write(target: IO[bytes], message: Any) -> None:
    pickle.dump(message, target)
    target.flush()


def _end_with(source: IO[bytes]) -> None:
    """End this process when the one that has started it is gone."""
    source.read()
    os._exit(1)
