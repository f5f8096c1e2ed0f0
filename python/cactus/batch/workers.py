"""Processes that share the rows of a job, each with a model of its own; `worker` is their side."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import Queue
from threading import Thread
from typing import Any

from cactus.batch.task import Line, Task
from cactus.child import end_child, start_child
from cactus.errors import CactusError
from cactus.machine import choose_threads

AHEAD = 256
"""Lines that may wait to be written."""

MOST = 16
"""Processes, where nobody has said how many: each takes 40 MB and more beside the weights."""


def process_count(task: Task, rows: int) -> int:
    """How many processes do so many rows of a task the fastest.

    More than one where a text or two fill a core: then no core waits for another at each layer, and
    what Python does is shared, too.
    """
    each = task.job.work().ROWS_A_PROCESS
    if each is None or task.load.get("threads") is not None:
        return 1
    return max(1, min(rows // each, choose_threads(), MOST))


def lines_of_all(task: Task, workers: int, done: Sequence[int]) -> Generator[Line, None, None]:
    """The lines of all rows that are not `done`, in any order, of so many processes.

    Without `threads` they share the cores of the machine. Raises what ends the work of one of them;
    CactusError where one ends without a word. No process is left behind.
    """
    load = dict(task.load)
    load["threads"] = load.get("threads") or max(1, choose_threads() // workers)
    found: Queue[Line | BaseException | None] = Queue(AHEAD)
    processes, threads = [], []
    try:
        for part in range(workers):
            process = start(
                "main", (replace(task, load=load, part=part, parts=workers), bytes(done))
            )
            processes.append(process)
            threads.append(Thread(target=_read, args=(process, part, found), daemon=True))
            threads[-1].start()
        running = workers
        while running:
            line = found.get()
            if line is None:
                running -= 1
            elif isinstance(line, BaseException):
                raise line
            else:
                yield line
    finally:
        line = None  # an error that is raised here refers to this frame, which would to the error
        for process in processes:
            process.kill()
        while any(thread.is_alive() for thread in threads):
            with suppress(Exception):  # one that waits for room is let go
                found.get(timeout=0.01)
        for process in processes:
            end_child(process)


def start(function: str, first: Any) -> subprocess.Popen[bytes]:
    """A process that runs a function of `worker`, with `first` as what it reads at first."""
    process = start_child("cactus.batch.worker", function)
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended, which whoever reads it finds
        pickle.dump(first, process.stdin)
        process.stdin.flush()  # and stays open: the worker ends with it
    return process


def _read(process: subprocess.Popen[bytes], part: int, found: Queue[Any]) -> None:
    """Pass on what a worker writes, and None or an error when it has ended."""
    assert process.stdout is not None
    try:
        while True:
            message = pickle.load(process.stdout)
            found.put(message)
            if message is None or isinstance(message, BaseException):
                return
    except (EOFError, pickle.UnpicklingError, OSError, ValueError):
        status = process.wait()
        found.put(
            CactusError(
                f"worker {part + 1} ended with status {status}: it crashed, was killed, or the "
                "machine has too little memory; what is done stays done"
            )
        )
