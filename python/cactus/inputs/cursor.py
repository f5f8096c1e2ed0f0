"""Reading a file of unaligned little-endian values from its start; nothing is believed of sizes."""

from __future__ import annotations

import struct
from typing import Any

from cactus.errors import ModelFormatError
from cactus.inputs.files import RegularFile

_WINDOW = 4096
"""Bytes read at a time, or more where a single value is larger."""


class Cursor:
    """Reads values forward, never past the file's end; `position` is the next byte.

    `limit`: bytes that metadata may have. `what` begins the message of the `ModelFormatError` that
    each method raises.
    """

    def __init__(self, file: RegularFile, limit: int | None = None) -> None:
        self._file = file
        self._limit = file.size if limit is None else limit
        self._window = b""
        self._window_at = 0
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes from here to the file's end."""
        return self._file.size - self.position

    def skip(self, size: int, what: str) -> int:
        """Prove that `size` bytes are there, step over them, return where they begin."""
        start = self.position
        end = start + size
        if end > self._file.size:
            raise ModelFormatError(
                f"{what} at byte {start} needs {size} bytes, but {self.left} are left in the file; "
                "it is truncated or lies"
            )
        if end > self._limit:
            raise ModelFormatError(
                f"{what} at byte {start}: metadata of more than {self._limit} bytes"
            )
        self.position = end
        return start

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        start = self.skip(size, what)
        at = start - self._window_at
        if at + size > len(self._window):
            ready = min(max(size, _WINDOW), self._file.size - start)
            self._window, self._window_at, at = bytes(self._file.read(start, ready)), start, 0
        return self._window[at : at + size]

    def numbers(self, letter: str, count: int, what: str) -> tuple[Any, ...]:
        """The next `count` numbers of the type that `letter` stands for in ``struct``."""
        form = f"<{count}{letter}"
        return struct.unpack(form, self.take(struct.calcsize(form), what))

    def number(self, letter: str, what: str) -> Any:
        """The next number."""
        form = f"<{letter}"
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]


def decode(raw: bytes, what: str, at: int) -> str:
    """The text that stood at byte `at`; `ModelFormatError` where it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{what} at byte {at} is not UTF-8: {error.reason}") from None
