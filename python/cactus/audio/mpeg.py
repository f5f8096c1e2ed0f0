"""MP3 files whose headers lie about their length, or say nothing of it.

A file is frames, each behind a header of four bytes, possibly after an ID3 tag. The first frame
may hold no sound but a table ("Xing" or "Info") with the number of frames. The decoder stops where
this number, or a guess from the first frame's bitrate, says the end is: it is made so large here
that it reads to the true end.

http://www.mp3-tech.org/programmer/frame_header.html describes the headers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}

_MANY = 0xFFFF_FF00
"""Frames that no file has; the largest numbers mean "unknown" to the decoder."""

_HAS_COUNT = 1


@dataclass(frozen=True)
class Frame:
    """A layer III frame header: `size` of the frame in bytes, `samples` per channel, `rate` in Hz.

    `table` is where the frame's table begins, if it is one that holds a table.
    """

    size: int
    samples: int
    rate: int
    table: int


@dataclass(frozen=True)
class Mp3Data:
    """The frames from `offset` on, to be preceded by `header`; `duration` in seconds is a guess."""

    header: bytes
    offset: int
    duration: float | None


def find_frames(file: IO[bytes]) -> Mp3Data:
    """The first frame of an MP3 file, turned into a table that promises more than there can be.

    A file that does not begin as described is left as it is.
    """
    end = file.seek(0, os.SEEK_END)
    start = _after_tags(file)
    file.seek(start)
    head = file.read(4096)
    frame = parse_frame(head)
    if frame is None:
        return Mp3Data(b"", 0, None)
    table = head[frame.table : frame.table + 12]
    if table[:4] in (b"Xing", b"Info") and len(table) == 12 and table[7] & _HAS_COUNT:
        count = int.from_bytes(table[8:12], "big")
        size = min(frame.size, len(head))
        own = head[: frame.table + 8] + _MANY.to_bytes(4, "big") + head[frame.table + 12 : size]
        return Mp3Data(own, start + size, count * frame.samples / frame.rate)
    own = head[:4] + bytes(frame.table - 4) + b"Xing" + bytes((0, 0, 0, _HAS_COUNT))
    own += _MANY.to_bytes(4, "big")
    seconds = (end - start) / frame.size * frame.samples / frame.rate
    return Mp3Data(own.ljust(frame.size, b"\0"), start, seconds)


def parse_frame(head: bytes) -> Frame | None:
    """The frame that begins with `head`, None if it is none of layer III with a known size."""
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
    return Frame(size, samples, hertz, 4 + side) if size >= 4 + side + 12 else None


def _after_tags(file: IO[bytes]) -> int:
    """Where the frames begin: behind all ID3 tags."""
    position = 0
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
