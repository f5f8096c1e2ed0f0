"""What runs in a process of `workers`: a share of the rows of a job."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from queue import Queue
from typing import IO, Any

from cactus.batch.rows import Row
from cactus.errors import CactusError


def main() -> None:
    """Read a task from stdin and write its lines to stdout; end when stdin does."""
    target = _begin()
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


def blocks() -> None:
    """Read a task from stdin, write None when its model is loaded; then the lines of each block.

    A block is a list of rows; None follows its lines.
    """
    target = _begin()
    task, base = pickle.load(sys.stdin.buffer)
    given: Queue[list[Row]] = Queue()
    threading.Thread(target=_take, args=(sys.stdin.buffer, given), daemon=True).start()
    with suppress(BrokenPipeError):
        try:
            with task.opened(base) as lines_of:
                _write(target, None)
                while True:
                    for line in lines_of(iter(given.get())):
                        _write(target, line)
                    _write(target, None)
        except (CactusError, OSError, MemoryError) as error:
            _write(target, error)
    os._exit(0)


def _begin() -> IO[bytes]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # whatever a library prints
    return target


def _take(source: IO[bytes], given: Queue[list[Row]]) -> None:
    """Pass on blocks; end this process when the one that has started it is gone."""
    try:
        while True:
            given.put(pickle.load(source))
    finally:
        os._exit(1)


def _write(target: IO[bytes], message: Any) -> None:
    pickle.dump(message, target)
    target.flush()


def _end_with(source: IO[bytes]) -> None:
    """End this process when the one that has started it is gone."""
    source.read()
    os._exit(1)
