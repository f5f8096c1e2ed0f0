"""A process of its own for files that nobody vouches for, with limits on its time and memory.

It reads one file after the other, as long as none is over a limit or breaks it; then it is ended,
and the next file gets a new one. It knows nothing but the bytes that it is sent, and can neither
write files nor outlive this process.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import threading
import weakref
from dataclasses import asdict
from typing import IO, Any

from cactus.child import end_child, start_child
from cactus.documents.types import REASONS, Block, Document, Limits, Reason
from cactus.documents.unread import Unread
from cactus.inputs.text import megabytes, reason_of

LENGTH = struct.Struct("<Q")

_ENDED = ("crashed", "too slow", "too much memory", "unreadable")
"""After these the process is not used again."""
_KILLED = -9
"""The status of a process that somebody has ended, or the system where memory was short: that says
nothing of the file."""
_REASONS: dict[str, Reason] = {reason: reason for reason in REASONS}


class ReaderProcess:
    """Reads files in a process that is started when it is needed. May be used from any thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._owner = 0
        self.started = 0

    def parse(self, kind: str, name: str, data: bytes) -> Document:
        """The document in the bytes of a file. Raises Unread, for a limit or a crash, too."""
        with self._lock:
            fresh = self._begin()
            try:
                return self._ask(kind, name, data)
            except Unread as error:
                if error.reason not in _ENDED:
                    raise
                self._stop()
                if (fresh and error.reason != "unreadable") or error.reason == "too slow":
                    raise
            except BaseException:  # interrupted: it may be in the middle of anything
                self._stop()
                raise
            # The reason may be who killed it, or what earlier files have left behind in it.
            return self._alone(kind, name, data)

    def _alone(self, kind: str, name: str, data: bytes) -> Document:
        self._begin()
        try:
            return self._ask(kind, name, data)
        finally:
            self._stop()

    def close(self) -> None:
        """End the process, if it runs; a second call does nothing."""
        with self._lock:
            self._stop()

    def _begin(self) -> bool:
        """Start the process unless it runs; whether it was started."""
        process = self._process
        if process is not None and self._owner == os.getpid() and process.poll() is None:
            return False
        self._stop()
        limits = json.dumps(asdict(self._limits))
        try:
            self._process = start_child("cactus.documents.worker", "main", limits, quiet=True)
        except OSError as error:
            raise Unread("unreadable", f"no process to read it in: {reason_of(error)}") from None
        self._owner = os.getpid()
        self._end = weakref.finalize(self, end_child, self._process, self._owner)
        self.started += 1
        return True

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _ask(self, kind: str, name: str, data: bytes) -> Document:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._limits.seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            head = json.dumps({"kind": kind, "name": name}).encode()
            send(process.stdin, head)
            send(process.stdin, data)
            answer = receive(process.stdout, 8 * self._limits.characters + (64 << 20))
        except (OSError, EOFError):
            status = process.wait()
            if late.is_set():
                seconds = f"{self._limits.seconds:g} seconds"
                raise Unread("too slow", f"it took more than {seconds}") from None
            if status == _KILLED:
                raise Unread("unreadable", "the process that read it was killed") from None
            limit = megabytes(self._limits.memory_bytes)
            what = f"its reader ended with {status}: broken, or needs more memory than {limit}"
            raise Unread("crashed", what) from None
        finally:
            timer.cancel()
        return _document(json.loads(answer))


def send(stream: IO[bytes], content: bytes) -> None:
    """Write a message: its length and its bytes."""
    stream.write(LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def receive(stream: IO[bytes], most: int) -> bytes:
    """Read a message. Raises EOFError where the stream ends, or the message is too long."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size or LENGTH.unpack(head)[0] > most:
        raise EOFError
    (length,) = LENGTH.unpack(head)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _document(answer: dict[str, Any]) -> Document:
    if "reason" in answer:
        raise Unread(_REASONS.get(answer["reason"], "damaged"), str(answer["detail"]))
    answer["blocks"] = [Block(*block) for block in answer["blocks"]]
    answer["lines"] = [(offset, line) for offset, line in answer["lines"]]
    return Document(**answer)
