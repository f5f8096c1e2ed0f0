"""Audio on standard input: a file that is piped in, or raw samples as they come."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import Any

from cactus.audio.decode import SAMPLE_RATE
from cactus.audio.formats import looks_like_a_file

LOOKED_AT = 4096
"""Bytes that have to come before it is clear what they are: an eighth of a second of samples."""

POLL_SECONDS = 0.1


class StandardInput:
    """Standard input as a binary file object that ends with it, or where it is ``cut``."""

    name = "standard input"

    def __init__(self) -> None:
        self.active = False
        """Whether it is being read and has not ended."""
        self.was_cut = False
        self._ahead = b""

    def cut(self) -> None:
        """Nothing more is read of it; safe in a signal handler."""
        self.was_cut = True

    def open(self) -> tuple[Any, int | None]:
        """A file object, and the rate of its samples if it is raw ones: mono s16le at 16 kHz."""
        if not looks_like_a_file(self._peek(LOOKED_AT)):
            return self, SAMPLE_RATE
        regular = stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
        # What can be seeked need not be copied first.
        self.active = not regular
        return (sys.stdin.buffer if regular else self), None

    def read(self, size: int) -> bytes:
        """What has arrived, at most `size` bytes; waits for one; b"" at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        self.active = True
        while not self.was_cut:
            # Windows cannot wait for a pipe: there a cut is seen with the next samples.
            if os.name == "nt" or select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                data = os.read(sys.stdin.fileno(), size)
                self.active = bool(data)
                return data
        self.active = False
        return b""

    read1 = read

    def _peek(self, size: int) -> bytes:
        head = b""
        while len(head) < size and (data := self.read(size - len(head))):
            head += data
        self._ahead = head
        return head
