"""Ogg files: streams one after another ("chained"), and what is in each.

    page    "OggS", version, flags, position (8), serial (4), number (4), CRC (4), count, sizes

A page with the flag 2 begins a stream. Those that begin together are played together; one that
begins behind other pages is the next link of a chain. RFC 3533 describes the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from cactus.audio.source import chunks

_CODECS = (
    (b"\x01vorbis", "Vorbis"),
    (b"OpusHead", "Opus"),
    (b"\x7fFLAC", "FLAC"),
    (b"Speex   ", "Speex"),
    (b"\x80theora", "Theora"),
    (b"fishead\0", "a skeleton"),
)

_FIRST = 2
_PAGE_BYTES = 27


@dataclass(frozen=True)
class Link:
    """Bytes [offset, end) of a file, and the codecs of the streams that begin there."""

    offset: int
    end: int
    codecs: tuple[str, ...]


def find_links(file: IO[bytes], begin: int, end: int) -> list[Link]:
    """The links of the Ogg file in bytes [begin, end); only the pages' headers are read."""
    links: list[Link] = []
    offset = begin
    codecs: list[str] = []
    inside = False  # behind the pages that begin streams
    for position, flags, start in _pages(file, begin, end):
        if flags & _FIRST:
            if inside:
                links.append(Link(offset, position, tuple(codecs)))
                offset, codecs = position, []
            codecs.append(next((name for magic, name in _CODECS if start.startswith(magic)), "?"))
        inside = not flags & _FIRST
    return [*links, Link(offset, end, tuple(codecs))]


def _pages(file: IO[bytes], position: int, size: int) -> Iterator[tuple[int, int, bytes]]:
    """Each page: where it begins, its flags, and how the data of one that begins a stream does."""
    while position + _PAGE_BYTES <= size:
        file.seek(position)
        head = file.read(_PAGE_BYTES + 255)
        if head[:4] != b"OggS" or len(head) < _PAGE_BYTES + head[26]:
            found = _next_page(file, position + 1, size)
            if found is None:
                return
            position = found
            continue
        data = _PAGE_BYTES + head[26]
        body = sum(head[_PAGE_BYTES:data])
        start = b""
        if head[5] & _FIRST:
            file.seek(position + data)
            start = file.read(8)
        yield position, head[5], start
        position += data + body


def _next_page(file: IO[bytes], start: int, end: int) -> int | None:
    for offset, data in chunks(file, start, end, 4):
        at = data.find(b"OggS")
        if at >= 0:
            return offset + at
    return None
