"""Where a file ends and another one begins that was joined to it.

Sizes in headers are often wrong, so they count only where another file begins right there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import IO

from cactus.audio import flac, mpeg
from cactus.audio.formats import HEAD_BYTES, Container, may_begin, recognise_joined
from cactus.audio.mpeg import ROW_BYTES, find_row

_CHAINED = ("ogg", "mp3", "a WebM or Matroska file", "an AVI video")
"""Files that are read past their end where one of their own kind follows."""

_SMALL_FRAME = 48
"""More bytes than such a frame of MP3 has that `mpeg` takes for none."""

_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def find_next(
    file: IO[bytes], own: Container, begin: int, end: int, frames: list[int]
) -> tuple[int, Container] | None:
    """The file that begins behind the one that begins at byte `begin`, and where.

    `frames` are the ends of its frames, where they were looked for. None where no file begins
    before byte `end`, or the header does not say how long this one is.
    """
    for place in frames or _ends(file, own.kind, begin, end):
        # Some writers pad the samples and do not count that; an MP3 encoder may end with a frame
        # that is too small to hold anything.
        small = bool(frames) and _read(file, place, 2)[:1] == b"\xff"
        for offset in range(place, place + (_SMALL_FRAME if small else 2)):
            if not begin < offset < end or not may_begin(_read(file, offset, 16)):
                continue
            found = recognise_joined(_read(file, offset, min(HEAD_BYTES, end - offset)))
            if found and found.kind == "mp3" and not _has_frames(file, offset):
                continue  # a tag of the file before
            chained = found and (found.name in _CHAINED or found.kind in _CHAINED)
            if found and not (chained and found.name == own.name):
                return offset, found
    return None


def w64_end(file: IO[bytes], begin: int, end: int) -> int | None:
    """Where a W64 file ends, where its header and its samples say the same."""
    (size,) = struct.unpack("<Q", _read(file, begin + 16, 8).ljust(8, b"\0"))
    stated = begin + int(size)
    for position in _walk(file, begin + 40, min(stated, end), _w64_chunk):
        guid, size = struct.unpack("<16sQ", _read(file, position, 24).ljust(24, b"\0"))
        if guid == _W64_DATA and stated - 8 < position + size <= stated < end:
            return stated
    return None


def _has_frames(file: IO[bytes], begin: int) -> bool:
    """Whether frames of MP3 follow the tags that may be there."""
    return find_row(_read(file, mpeg.after_tags(file, begin), ROW_BYTES)) == 0


def _ends(file: IO[bytes], kind: str, begin: int, end: int) -> Iterator[int]:
    """Where the file that begins at `begin` may end."""
    head = _read(file, begin, 36)
    if kind == "flac":
        yield from flac.find_ends(file, begin, end)
    elif kind == "ogg":
        yield from _walk(file, begin, end, _ogg_page)
    elif kind == "w64" and len(head) >= 24:
        yield begin + int(struct.unpack_from("<Q", head, 16)[0])
    elif kind == "au" and len(head) >= 12:
        offset, size = struct.unpack_from(">II", head, 4)
        yield begin + offset + size
    elif kind == "caf":
        yield from _walk(file, begin + 8, end, _caf_chunk)
    elif kind == "rf64" and len(head) >= 28:
        yield begin + 8 + int(struct.unpack_from("<Q", head, 20)[0])
    elif kind in ("aiff", "rifx"):
        yield begin + 8 + int.from_bytes(head[4:8], "big")
    elif head[:4] == b"RIFF":
        yield from _walk(file, begin, end, _riff)
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        yield from _walk(file, begin, end, _ebml_element)
    elif head[:4] == b"\x30\x26\xb2\x75":
        yield from _walk(file, begin, end, _asf_object)
    elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        yield from _walk(file, begin, end, _mp4_box)


def _walk(
    file: IO[bytes], position: int, end: int, size_of: Callable[[bytes], int | None]
) -> Iterator[int]:
    """The beginnings of what follows the chunk at `position`; `size_of` gets a chunk's head."""
    while position < end:
        size = size_of(_read(file, position, 27 + 255))
        if size is None or size <= 0:
            return
        position += size
        if position < end:
            yield position


def _riff(head: bytes) -> int | None:
    return 8 + int.from_bytes(head[4:8], "little") if head[:4] == b"RIFF" else None


def _caf_chunk(head: bytes) -> int | None:
    size = int.from_bytes(head[4:12], "big", signed=True)
    return None if size < 0 or len(head) < 12 else 12 + size


def _w64_chunk(head: bytes) -> int | None:
    size = int.from_bytes(head[16:24], "little")
    return None if size < 24 else size + -size % 8


def _ogg_page(head: bytes) -> int | None:
    if head[:4] != b"OggS" or len(head) < 27:
        return None
    return 27 + head[26] + sum(head[27 : 27 + head[26]])


def _mp4_box(head: bytes) -> int | None:
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:16], "big")
    return size if size >= 8 else None  # 0: to the end of the file


def _asf_object(head: bytes) -> int | None:
    size = int.from_bytes(head[16:24], "little")
    return size if size >= 24 else None


def _ebml_element(head: bytes) -> int | None:
    """An id and a size, of which the first bit that is set says how many bytes they have."""
    at = 9 - head[0].bit_length() if head else 0
    if not 1 <= at <= 4 or len(head) <= at or not head[at]:
        return None
    length = 9 - head[at].bit_length()
    unknown = (1 << 7 * length) - 1
    size = int.from_bytes(head[at : at + length], "big") & unknown
    if size == unknown:  # a live recording: what is in it stands behind
        size = 0
    return at + length + size


def _read(file: IO[bytes], position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)
