"""Large bodies are looked at in a process of their own first.

A parser of JSON keeps all other threads waiting: a twentieth of a second for megabytes of text,
seconds for as many brackets. So the process checks a body, and says what is wrong with it; what
passes is decoded here, once and to its type, which takes no longer than to copy it.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import msgspec

from cactus.child import end_child, start_child
from cactus.documents.process import LENGTH, receive, send
from cactus.server.body import BYTE_ORDER, decode
from cactus.server.errors import ApiError

LONG = 256 << 10
"""Bytes of a body from which it is one."""
PATIENCE = 60.0
"""Seconds in which a body has to be checked."""
PIPE = 1 << 20


class Decoder:
    """Decodes the bodies of one server, large ones one at a time.

    The process is started for the first of them, and ends with `close`, or with this process.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "cactus-bodies")
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None

    async def decode(self, parts: Sequence[bytes], kind: Any) -> Any:
        """`body.decode`, without keeping others from their work. Raises ApiError as that does."""
        if sum(map(len, parts)) < LONG:
            return decode(b"".join(parts), kind)
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._decode, parts, kind
        )

    def close(self) -> None:
        """End the process, if it runs."""
        self._stop()
        self._thread.shutdown()

    def _decode(self, parts: Sequence[bytes], kind: Any) -> Any:
        told = self._ask(parts, kind)
        if told is not None:
            raise ApiError(**told)
        return msgspec.json.decode(b"".join(parts).removeprefix(BYTE_ORDER), type=kind)

    def _ask(self, parts: Sequence[bytes], kind: Any) -> Any:
        """Have the process check a body: what an ApiError is made of, or None."""
        timer: threading.Timer | None = None
        try:
            process = self._begin()
            assert process.stdin is not None and process.stdout is not None
            timer = threading.Timer(PATIENCE, process.kill)
            timer.daemon = True
            timer.start()
            send(process.stdin, pickle.dumps(kind))
            process.stdin.write(LENGTH.pack(sum(map(len, parts))))
            for part in parts:
                process.stdin.write(part)
            process.stdin.flush()
            return json.loads(receive(process.stdout, 1 << 20))
        except (OSError, EOFError):
            self._stop()
            raise ApiError(
                503, "the body could not be checked; try again", code="overloaded", retry_after=5
            ) from None
        except BaseException:  # it may be in the middle of a body
            self._stop()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _begin(self) -> subprocess.Popen[bytes]:
        """The process; it is started if it does not run."""
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = start_child("cactus.server.large", "main", quiet=True, pipe=PIPE)
            self._end = weakref.finalize(self, end_child, self._process)
        return self._process

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None


def main() -> None:
    """What runs in the process: types and bodies from stdin, errors to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    if hasattr(os, "nice"):
        os.nice(10)
    with suppress(EOFError, BrokenPipeError):
        while True:
            kind = pickle.loads(receive(sys.stdin.buffer, 1 << 20))
            send(sys.stdout.buffer, json.dumps(_fault(kind)).encode())


def _fault(kind: Any) -> dict[str, Any] | None:
    try:
        decode(receive(sys.stdin.buffer, sys.maxsize), kind)
    except ApiError as error:
        named = ("status", "message", "code", "param")
        return {name: getattr(error, name) for name in named}
    return None
