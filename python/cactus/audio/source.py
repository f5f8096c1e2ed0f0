"""Where audio comes from: a path, bytes or a file object, as one file that can be seeked."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import IO, Any

from cactus.errors import InvalidAudio
from cactus.inputs.files import open_regular, quoted
from cactus.inputs.text import reason_of

SPOOL_BYTES = 16 << 20
"""A file object that cannot be seeked is copied; beyond this many bytes, onto the disk."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_bytes(source: Any) -> tuple[IO[bytes], str]:
    """A seekable binary file of `source`, and what to call it in messages.

    A path is opened; bytes are wrapped; a file object is read from its beginning where it can be
    seeked, else copied from where it is. Closing the result leaves a caller's file object open.

    Raises `InvalidAudio` for whatever is none of these or cannot be read; never blocks on a path.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source), "audio"
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source))
    if not callable(getattr(source, "read", None)):
        raise InvalidAudio(
            f"audio is {type(source).__name__}, expected a path, bytes or a binary file object"
        )
    name = getattr(source, "name", None)
    return _adopt(source), f'"{name}"' if isinstance(name, str) and name else "audio"


def _open_path(path: str | bytes) -> tuple[IO[bytes], str]:
    path = os.fsdecode(path)
    if _URL.match(path):
        raise InvalidAudio(f"{quoted(path)} is a URL; download it first and give the file's path")
    return open_regular(path, "audio file", InvalidAudio)


def _adopt(source: Any) -> IO[bytes]:
    """A caller's file object, checked to be binary; a copy of it where it cannot be seeked."""
    if isinstance(source, io.TextIOBase):
        raise InvalidAudio('audio is a text file object; open it with mode "rb"')
    try:
        source.seek(0)
        source.tell()
    except (AttributeError, OSError, ValueError):
        return _spool(source)
    return io.BufferedReader(Borrowed(source))


def _spool(source: Any) -> IO[bytes]:
    copy = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
    except (OSError, TypeError, ValueError) as error:
        copy.close()
        raise InvalidAudio(
            f"audio cannot be read from the file object: {reason_of(error)}"
        ) from error
    return copy


def chunks(
    file: IO[bytes], start: int, end: int, overlap: int, size: int = 1 << 20
) -> Iterator[tuple[int, bytes]]:
    """Bytes [start, end) of `file`, each chunk with its offset and `overlap` bytes of the next.

    What lies within `overlap` bytes is whole in one of them; in the first of two only if it begins
    before the second.
    """
    for offset in range(start, end, size):
        file.seek(offset)
        yield offset, file.read(min(size + overlap, end - offset))


class Borrowed(io.RawIOBase):
    """A caller's file object, which closing leaves open."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, and return where that is."""
        self._source.seek(offset, whence)
        return int(self._source.tell())

    def readinto(self, buffer: Any) -> int:
        """Fill a part of `buffer`; returns how many bytes."""
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


Piece = bytes | tuple[int, int]
"""Bytes as they are, or offset and size of those in a file."""


class View(io.RawIOBase):
    """Pieces of a file, and bytes between them, as one file.

    A failure to read ends the file early and is kept in `failure`: a decoder of another language
    that calls back here can hand no exception on.
    """

    def __init__(self, file: IO[bytes], pieces: Sequence[Piece]) -> None:
        self._file, self._pieces = file, pieces
        sizes = [len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces]
        self._ends = list(accumulate(sizes))
        self._position = 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, and return where that is."""
        size = self._ends[-1]
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: size}[whence]
        self._position = min(max(start + offset, 0), size)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a part of `buffer`; returns how many bytes, 0 at the end or after a failure."""
        done = 0
        try:
            while done < len(buffer) and self._position < self._ends[-1]:
                data = self._read(len(buffer) - done)
                if not data:
                    break
                buffer[done : done + len(data)] = data
                done += len(data)
                self._position += len(data)
        except Exception as failure:
            # Without the frames that it passed: they refer to this view, and so would it.
            self.failure = failure.with_traceback(None)
            return 0
        return done

    def _read(self, size: int) -> bytes:
        """At most `size` bytes of the piece at the position."""
        index = bisect_right(self._ends, self._position)
        piece = self._pieces[index]
        left = self._ends[index] - self._position
        if isinstance(piece, bytes):
            at = len(piece) - left
            return piece[at : at + size]
        self._file.seek(piece[0] + piece[1] - left)
        return self._file.read(min(size, left))
