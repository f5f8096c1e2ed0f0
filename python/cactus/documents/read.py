"""A file of a folder as a document, or why not. Nothing that is in a file raises."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol

from cactus.compat import Self
from cactus.documents import kinds
from cactus.documents.process import ReaderProcess
from cactus.documents.readers import ISOLATED, parse
from cactus.documents.types import Block, Document, Limits, Skipped
from cactus.documents.unread import Unread
from cactus.documents.walk import FileEntry, skipped_for
from cactus.errors import InvalidAudio, UnsupportedAudio
from cactus.inputs.files import file_kind
from cactus.inputs.text import megabytes

READERS_VERSION = "1"
"""Changes when the same file gives another text."""


class Spoken(Protocol):
    """What a transcription gives: a text with its start and end in seconds."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def text(self) -> str: ...


Transcribe = Callable[[str], Iterable[Spoken]]
"""Called with the path of a recording; gives what is said in it, in order."""


class Reader:
    """Reads files; what could be hostile in a process of its own, which is started when needed.

    Close it, or use it in a ``with`` statement. `read` and `load` may be called from any thread;
    files of that process are read one after the other. With `pictures` their files are loaded, too.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        transcribe: Transcribe | None = None,
        pictures: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self._transcribe, self._pictures = transcribe, pictures
        self._process = ReaderProcess(self.limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process that reads, if there is one; a second call does nothing."""
        self._process.close()

    def load(self, entry: FileEntry) -> bytes | Skipped | None:
        """The content of a file; None for a recording, which is read as it is transcribed.

        What is not a regular file any more, or became a link, or is over a limit, is skipped.
        """
        kind = kinds.kind_of(entry.name)
        what = kinds.refused(entry.name)
        if what is not None and not (self._pictures and what == kinds.PICTURE):
            return Skipped(entry.name, "unsupported", what)
        if kind == "recording" and self._transcribe is None:
            what = "a recording; name a speech model to have it transcribed"
            return Skipped(entry.name, "unsupported", what)
        limit = "binary_bytes" if kind in kinds.BINARY_KINDS else "text_bytes"
        try:
            if kind == "recording":
                _content(entry, None)
                return None
            return _content(entry, getattr(self.limits, limit))
        except _TooLong as error:
            most = megabytes(getattr(self.limits, limit))
            what = f"{megabytes(error.size)}, the limit {limit} is {most}"
            return Skipped(entry.name, "too large", what)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Skipped(entry.name, "gone", "it became a link")
            return skipped_for(entry.name, error)
        except Unread as error:
            return Skipped(entry.name, error.reason, error.detail)

    def read(self, entry: FileEntry, data: bytes | None = None) -> Document | Skipped:
        """The document in a file, from its content where that was loaded already."""
        if data is None:
            loaded = self.load(entry)
            if isinstance(loaded, Skipped):
                return loaded
            data = loaded
        try:
            document = self._spoken(entry) if data is None else self._parsed(entry.name, data)
        except Unread as error:
            return Skipped(entry.name, error.reason, error.detail)
        if not document.text or document.text.isspace():
            return Skipped(entry.name, "empty", "no text in it")
        return document

    def _parsed(self, name: str, data: bytes) -> Document:
        if not data:
            raise Unread("empty", "0 bytes")
        if (inner := kinds.without_gz(name)) != name:
            name, data = inner, _unpacked(data, self.limits.unpacked_bytes)
        kind = kinds.kind_of(name)
        found = kinds.kind_by_content(data)
        if kind is None or found in kinds.BINARY_KINDS:
            kind = found or kind or "text"
        if kind in ISOLATED:
            return self._process.parse(kind, name, data)
        return parse(kind, name, data, self.limits)

    def _spoken(self, entry: FileEntry) -> Document:
        assert self._transcribe is not None
        parts: list[str] = []
        times: list[tuple[int, float, float]] = []
        length = 0
        try:
            for segment in self._transcribe(entry.path):
                text = segment.text.strip()
                if text:
                    times.append((length, segment.start, segment.end))
                    parts.append(text + "\n")
                    length += len(text) + 1
        except UnsupportedAudio as error:
            raise Unread("unsupported", str(error)) from None
        except InvalidAudio as error:
            raise Unread("damaged", str(error)) from None
        return Document("".join(parts), [Block("lines", 0, length)], "recording", times=times)


def _unpacked(data: bytes, limit: int) -> bytes:
    """What is in a file that gzip has made."""
    parts: list[bytes] = []
    left = limit
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            parts.append(unpacker.decompress(data, left + 1))
        except zlib.error as error:
            raise Unread("damaged", f"not a gzip file: {error}") from None
        left -= len(parts[-1])
        if left < 0:
            raise Unread("too large", f"unpacks to more than unpacked_bytes, {megabytes(limit)}")
        if not unpacker.eof:
            raise Unread("damaged", "the gzip file is cut short")
        data = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts)


class _TooLong(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def _content(entry: FileEntry, limit: int | None) -> bytes:
    """The content of a regular file of at most `limit` bytes; None: only check that it is one."""
    # Neither a link, nor a FIFO that would wait for a writer; nor a folder above it that became a
    # link since it was found.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(entry.path, flags | getattr(os, "O_NOFOLLOW", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unread("special", file_kind(status.st_mode))
        if os.path.realpath(entry.path) != entry.path:
            raise Unread("gone", "it became a link, or its folder did")
        if limit is None:
            return b""
        if status.st_size > limit:
            raise _TooLong(status.st_size)
        data = file.read(limit + 1)
        if len(data) > limit:  # it grew meanwhile
            raise _TooLong(os.fstat(descriptor).st_size)
        return data
