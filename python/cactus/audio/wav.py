"""WAV files whose headers lie, as streaming and crashed recorders leave them.

    "RIFF" size "WAVE", then chunks: id, size, bytes, and one byte of padding where size is odd
    "fmt "    coding, channels, sample rate, bytes a second, bytes a frame, bits a sample
    "data"    the samples

Sizes are 32 bits and often wrong: 0 or 0xFFFFFFFF from a writer that could not go back, modulo
2^32 in longer files, more than there is in half a download. The samples are found all the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

from cactus.errors import InvalidAudio

UNKNOWN_SIZE = 0x7FFF0000
"""From here on, a size is what a writer puts down that does not know it yet."""

MAX_CHUNKS = 10_000
MAX_FORMAT_BYTES = 4096


@dataclass(frozen=True)
class WavData:
    """Where the samples lie: `offset` and `size` in bytes; `fmt` is the format chunk's content.

    `missing` is how many bytes of samples the header promises beyond the end of the file.
    """

    fmt: bytes
    offset: int
    size: int
    missing: int

    @property
    def rate(self) -> int:
        """Samples a second, as the header says."""
        return int(struct.unpack_from("<I", self.fmt, 4)[0])

    def header(self) -> bytes:
        """A plain header for the samples alone; of the 64-bit kind where they need it."""
        fmt = b"fmt " + struct.pack("<I", len(self.fmt)) + self.fmt + bytes(len(self.fmt) % 2)
        if self.size < UNKNOWN_SIZE:
            body = fmt + b"data" + struct.pack("<I", self.size)
            return b"RIFF" + struct.pack("<I", 4 + len(body) + self.size) + b"WAVE" + body
        body = fmt + b"data\xff\xff\xff\xff"
        sizes = struct.pack("<QQQI", 4 + 36 + len(body) + self.size, self.size, 0, 0)
        return b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", len(sizes)) + sizes + body


def find_samples(file: IO[bytes], name: str, begin: int, end: int) -> WavData:
    """Walk the chunks of the WAV file in bytes [begin, end).

    Raises `InvalidAudio` where format or samples are missing.
    """
    riff = struct.unpack("<I", _read(file, begin + 4, 4).ljust(4, b"\0"))[0]
    # A file of more than 4 GiB states its sizes modulo 2^32.
    beyond = end - begin - (riff + 8)
    wrapped = beyond if beyond > 0 and beyond % 2**32 == 0 else 0
    fmt: bytes | None = None
    samples: tuple[int, int, int] | None = None
    position = begin + 12
    for _ in range(MAX_CHUNKS):
        header = _read(file, position, 8)
        if len(header) < 8 or (fmt is not None and samples is not None):
            break
        kind, size = struct.unpack("<4sI", header)
        position += 8
        left = end - position
        if kind == b"data" and samples is None:
            followed = beyond in (0, 1) and _is_id(_read(file, position, 4))
            size, missing = _data_size(size + wrapped, left, followed)
            samples = position, size, missing
        elif kind == b"fmt " and fmt is None:
            if size > MAX_FORMAT_BYTES:
                raise InvalidAudio(f"{name}: its format chunk claims {size} bytes, expected 16")
            fmt = _read(file, position, size)
        position = _after(file, position, size)
    if fmt is None or len(fmt) < 16:
        raise InvalidAudio(f"{name}: is a WAV file without a whole format chunk; it is damaged")
    if samples is None:
        raise InvalidAudio(f"{name}: is a WAV file without a data chunk; it is damaged or cut off")
    return WavData(fmt, *samples)


def _data_size(stated: int, left: int, followed: bool) -> tuple[int, int]:
    """How many bytes of samples there are, and how many were promised beyond them.

    `followed` is whether another chunk seems to begin where the samples do.
    """
    if UNKNOWN_SIZE <= stated <= 0xFFFFFFFF and stated > left:
        return left, 0
    if stated == 0 and not followed:
        return left, 0
    return min(stated, left), max(stated - left, 0)


def _after(file: IO[bytes], position: int, size: int) -> int:
    """Where the next chunk begins; some writers leave out the padding of an odd size."""
    end = position + size
    if size % 2 and _is_id(_read(file, end, 4)) and not _is_id(_read(file, end + 1, 4)):
        return end
    return end + size % 2


def _is_id(text: bytes) -> bool:
    return len(text) == 4 and all(32 <= letter < 127 for letter in text)


def _read(file: IO[bytes], position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)
