"""MP3 files: joined, damaged, cut out of a broadcast, with headers that lie about their length.

A file is frames, each behind a header of four bytes, possibly after an ID3 tag. The first frame
may hold no audio but a table ("Xing" or "Info") with the number of frames. All headers are looked
at before anything is decoded: the decoder stops or skips where something else is among the frames,
and where the table, or a guess from the first frame's bitrate, says the end is.

http://www.mp3-tech.org/programmer/frame_header.html describes the headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO

from cactus.audio.source import Piece, chunks

_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}

_MANY = 0xFFFF_FF00
"""Frames that no file has; the largest numbers mean "unknown" to the decoder."""

_HAS_COUNT, _HAS_BYTES = 1, 2

_IN_A_ROW = 4
"""Frames that must follow one another where they are looked for among other bytes."""

ROW_BYTES = _IN_A_ROW * 2881
"""No more bytes than these have that many frames."""

_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")

_MOST_SILENCE = 600.0
"""Seconds of silence at most in place of what is damaged at one place."""


@dataclass(frozen=True)
class Frame:
    """A layer III frame header: `size` of the frame in bytes, `samples` per channel, `rate` in Hz.

    `table` is where the frame's table begins, if it is one that holds a table.
    """

    size: int
    samples: int
    rate: int
    mono: bool
    table: int


@dataclass
class Mp3:
    """One MP3 file: the `pieces` to be decoded, `frames` of them in all, and `stated` seconds.

    `damages` are the times in seconds where something else is among the frames, each with the
    seconds of silence that the pieces have in its place.
    """

    head: bytes
    first: Frame
    pieces: list[Piece] = field(default_factory=list)
    frames: int = 0
    damages: list[tuple[float, float]] = field(default_factory=list)
    stated: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames * self.first.samples / self.first.rate

    def state_size(self) -> None:
        """Correct the size in the table, where it has one: the decoder complains of others."""
        table, at = self.pieces[0], self.first.table
        assert isinstance(table, bytes)
        if table[at + 7] & _HAS_BYTES:
            size = sum(len(each) if isinstance(each, bytes) else each[1] for each in self.pieces)
            stated = (size & 0xFFFF_FFFF).to_bytes(4, "big")
            self.pieces[0] = table[: at + 12] + stated + table[at + 16 :]


def scan(file: IO[bytes], begin: int, end: int) -> list[Mp3]:
    """The MP3 files in bytes [begin, end) of `file`; none where it does not begin with a frame.

    A file begins with a tag, a table, or frames of another kind than those before; without these,
    joined files are one.
    """
    found: list[Mp3] = []
    position = start = after_tags(file, begin)
    base, data = position, b""
    fresh = True  # the next frame begins a file
    rate, mono = 0, False

    def close() -> None:
        if found and position > start:
            found[-1].pieces.append((start, min(position, end) - start))

    def result() -> list[Mp3]:
        for each in found:
            each.state_size()
        return found

    while position + 4 <= end:
        at = position - base
        if at < 0 or at + ROW_BYTES > len(data) < end - base:
            file.seek(position)
            base, at, data = position, 0, file.read((1 << 20) + ROW_BYTES)
        frame = parse_frame(data[at : at + 4])
        table = frame and data[at + frame.table : at + frame.table + 4] in (b"Xing", b"Info")
        if frame and not fresh and not table and frame.rate == rate and frame.mono == mono:
            found[-1].frames += 1
            position += frame.size
        elif frame and (not found or _is_row(data[at : at + ROW_BYTES])):
            close()
            found.append(_begin(data[at : at + frame.size], frame, bool(table)))
            # What it begins with is not decoded, or made anew.
            start = position + frame.size if table else position
            position += frame.size
            found[-1].frames = 0 if table else 1
            fresh, rate, mono = False, frame.rate, frame.mono
        elif not found:
            return []
        elif data[at : at + 3] == b"ID3" and (behind := after_tags(file, position)) > position:
            close()
            position = start = behind
            fresh = True
        else:
            close()
            near = find_row(data[at + 1 : at + 1 + 2 * ROW_BYTES])  # without reading it again
            following = position + 1 + near if near is not None else None
            if following is None:
                following = _find_row(file, position + 1, end)
            if following is None:
                return result()
            if not fresh:
                _patch(found[-1], following - position)
            position = start = following
    close()
    return result()


def _begin(head: bytes, frame: Frame, table: bool) -> Mp3:
    """A file that begins with the frame `head`.

    Its first piece is a table that promises more frames than there can be.
    """
    at = frame.table
    if table and len(head) >= at + 16 and head[at + 7] & _HAS_COUNT:
        count = int.from_bytes(head[at + 8 : at + 12], "big")
        own = head[: at + 8] + _MANY.to_bytes(4, "big") + head[at + 12 :]
        return Mp3(head, frame, [own], stated=count * frame.samples / frame.rate)
    own = head[:4] + bytes(at - 4) + b"Xing" + bytes((0, 0, 0, _HAS_COUNT))
    return Mp3(head, frame, [(own + _MANY.to_bytes(4, "big")).ljust(frame.size, b"\0")])


def _patch(mp3: Mp3, lost: int) -> None:
    """Put silence in place of `lost` bytes: about as many frames as they were."""
    one = mp3.first.samples / mp3.first.rate
    size = sum(piece[1] for piece in mp3.pieces if isinstance(piece, tuple)) / max(1, mp3.frames)
    count = min(round(lost / max(size, mp3.first.size / 4)), int(_MOST_SILENCE / one))
    if not count:
        return  # the end of a file whose last frame is not whole, with another behind it
    mp3.damages.append((mp3.seconds, count * one))
    # Zeros behind a header say that there is nothing to decode.
    mp3.pieces += [mp3.head[:4].ljust(mp3.first.size, b"\0")] * count
    mp3.frames += count


@lru_cache(maxsize=1024)
def parse_frame(head: bytes) -> Frame | None:
    """The frame that begins with `head`, four bytes; None if none of layer III of known size."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    one = version == 3
    samples = 1152 if one else 576
    hertz = _RATES[version][rate]
    size = samples // 8 * 1000 * _KBITS[1 if one else 2][bitrate] // hertz + (head[2] >> 1 & 1)
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if one else (9 if mono else 17)
    # A checksum between header and side information does not move the table.
    return Frame(size, samples, hertz, mono, 4 + side) if size >= 4 + side + 12 else None


def find_row(data: bytes) -> int | None:
    """Where in `data` frames of one kind begin to follow one another."""
    for found in _SYNC.finditer(data):
        if _is_row(data[found.start() : found.start() + ROW_BYTES]):
            return found.start()
    return None


def _find_row(file: IO[bytes], start: int, end: int) -> int | None:
    for offset, data in chunks(file, start, end, ROW_BYTES):
        at = find_row(data)
        if at is not None:
            return offset + at
    return None


def _is_row(data: bytes) -> bool:
    """Whether `data` begins with several frames of one kind."""
    at, kinds = 0, set()
    for _ in range(_IN_A_ROW):
        frame = parse_frame(data[at : at + 4])
        if frame is None:
            return False
        kinds.add((frame.rate, frame.mono))
        at += frame.size
    return len(kinds) == 1


def after_tags(file: IO[bytes], position: int) -> int:
    """Where the frames begin: behind all ID3 tags."""
    for _ in range(8):
        file.seek(position)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            break
        # Seven bits of each byte count, so that a size never looks like a frame.
        size = 0
        for byte in tag[6:]:
            size = size << 7 | byte & 0x7F
        position += 10 + size + (10 if tag[5] & 0x10 else 0)
    return position
