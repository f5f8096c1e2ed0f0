"""What runs in the process for files that nobody vouches for; `process` is the other side."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import fields
from typing import IO, Any

from cactus.documents.process import receive, send
from cactus.documents.readers import parse
from cactus.documents.types import Limits
from cactus.documents.unread import Unread
from cactus.inputs.text import megabytes, one_line

_GRACE = 10.0  # seconds after which it ends itself, should nobody be there to end it


def main() -> None:
    """Read files from stdin and write documents to stdout until stdin ends."""
    limits = Limits(**json.loads(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)  # whatever a library reads or prints
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    _limit(limits)
    with suppress(EOFError, BrokenPipeError):
        while True:
            head = json.loads(receive(source, 1 << 20))
            data = receive(source, sys.maxsize)
            faulthandler.dump_traceback_later(limits.seconds + _GRACE, exit=True, file=nothing)
            answer = _answer(head["kind"], head["name"], data, limits)
            faulthandler.cancel_dump_traceback_later()
            _write(target, answer)


def _limit(limits: Limits) -> None:
    """Bound this process's memory, and let it write no file, where the system can."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        with suppress(OSError, ValueError):  # macOS has the first one by name only
            resource.setrlimit(kind, (most, most))


def _answer(kind: str, name: str, data: bytes, limits: Limits) -> dict[str, Any]:
    try:
        document = parse(kind, name, data, limits)
        # Not asdict: it copies every row, which takes many times as long as to write them.
        return {field.name: getattr(document, field.name) for field in fields(document)}
    except Unread as error:
        return {"reason": error.reason, "detail": error.detail}
    except MemoryError:
        what = f"more than memory_bytes, {megabytes(limits.memory_bytes)}"
        return {"reason": "too much memory", "detail": what}
    except Exception as error:  # a file that a reader was not made for must not end an index
        return {"reason": "damaged", "detail": one_line(f"{type(error).__name__}: {error}")}


def _write(target: IO[bytes], answer: dict[str, Any]) -> None:
    try:
        content = json.dumps(answer).encode()
    except MemoryError:
        content = json.dumps({"reason": "too much memory", "detail": "its text"}).encode()
    send(target, content)
