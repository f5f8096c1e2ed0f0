"""Sound on standard input: a file that is piped in, or raw samples as they come."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Any

from cactus.audio.decode import SAMPLE_RATE
from cactus.audio.formats import looks_like_a_file

LOOKED_AT = 4096
"""Bytes that have to come before it is clear what they are: an eighth of a second of samples."""

POLL_SECONDS = 0.1


class StandardInput:
    """Standard input as a binary file object that also ends when `stopped` says so."""

    name = "standard input"

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._file = sys.stdin.fileno()
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """What has arrived, at most `size` bytes; waits for one; b"" at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        while not self._stopped():
            if select.select([self._file], [], [], POLL_SECONDS)[0]:
                return os.read(self._file, size)
        return b""

    read1 = read

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, fewer at the end; they stay to be read."""
        head = b""
        while len(head) < size and (data := self.read(size - len(head))):
            head += data
        self._ahead = head + self._ahead
        return head


def open_standard_input(stopped: Callable[[], bool]) -> tuple[Any, int | None]:
    """A file object, and the rate of its samples if it is raw ones: mono s16le at 16 kHz."""
    sound = StandardInput(stopped)
    if not looks_like_a_file(sound.peek(LOOKED_AT)):
        return sound, SAMPLE_RATE
    regular = stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    # What can be seeked need not be copied first.
    return (sys.stdin.buffer if regular else sound), None
