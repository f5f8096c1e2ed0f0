"""Processes of this package's own: Python with the modules that are found here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from {} import {} as run; run()"
)


def start_child(
    module: str, function: str, *arguments: str, quiet: bool = False, pipe: int = -1
) -> subprocess.Popen[bytes]:
    """A process that runs a function, which reads from stdin and writes to stdout.

    `arguments` are its ``sys.argv[1:]``. `quiet`: it writes no other word and no file. `pipe`:
    bytes that its pipes hold, where the system lets one choose. Raises OSError.
    """
    paths = json.dumps([path or os.getcwd() for path in sys.path])
    return subprocess.Popen(
        [sys.executable, *(["-B"] if quiet else []), "-c", _START.format(module, function),
         *arguments, paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        pipesize=pipe,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip


def end_child(process: subprocess.Popen[bytes], owner: int | None = None) -> None:
    """End a process and wait for its end; safe to call twice.

    `owner`: the process that has started it, of which this one may be a fork: then it goes on.
    """
    if owner in (None, os.getpid()):  # first, since to close is to wait until all is read
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # what was not sent yet
                stream.close()
