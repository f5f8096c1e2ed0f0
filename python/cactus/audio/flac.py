"""FLAC: where joined files begin, and where decoding can go on behind damage.

    "fLaC", then metadata blocks, the first of them (34 bytes) with sizes, rate and length
    frames    two bytes of sync, sizes, the number of the frame or of its first sample, a CRC-8

RFC 9639 describes the format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from cactus.audio.source import chunks

HEADER_BYTES = 4 + 4 + 34

_STARTS = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_HEADER = 16


@dataclass(frozen=True)
class FlacInfo:
    """What the block of sizes says; `total` samples are 0 where it is not known."""

    block: int
    rate: int
    channels: int
    total: int
    raw: bytes

    def header(self) -> bytes:
        """The beginning of a file of the same kind, whose frames are to follow."""
        # Neither a length nor a checksum: what follows is a part.
        return b"fLaC\x80\x00\x00\x22" + self.raw[:13] + bytes([self.raw[13] & 0xF0]) + bytes(20)


def read_info(file: IO[bytes], offset: int) -> FlacInfo | None:
    """The sizes of the FLAC file that begins at `offset`; None where they are damaged."""
    file.seek(offset)
    head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES or not _STARTS.match(head):
        return None
    raw = head[8:]
    packed = int.from_bytes(raw[10:18], "big")  # 20 bits rate, 3 channels, 5 depth, 36 total
    info = FlacInfo(
        block=int.from_bytes(raw[2:4], "big"),
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        total=packed & (1 << 36) - 1,
        raw=raw,
    )
    return info if info.rate and info.block >= 16 else None


def find_joined(file: IO[bytes], begin: int, end: int) -> Iterator[int]:
    """Where FLAC files begin in bytes [begin, end), the first one's beginning left out."""
    for offset, data in chunks(file, begin + 1, end, HEADER_BYTES):
        for found in _STARTS.finditer(data):
            if read_info(file, offset + found.start()):
                yield offset + found.start()


def find_ends(file: IO[bytes], begin: int, end: int) -> Iterator[int]:
    """Where the last frame of the FLAC file at `begin` may end: it does not say how long it is."""
    info = read_info(file, begin)
    if info is None or not info.total:
        return
    last = find_frame(file, begin, end, info, (info.total - 1) // info.block * info.block)
    if last is not None:
        size = 2 * HEADER_BYTES + 5 * info.block * info.channels  # of a frame, at most
        yield from range(last[0] + 1, min(last[0] + size, end))


def find_frame(
    file: IO[bytes], start: int, end: int, info: FlacInfo, sample: int
) -> tuple[int, int] | None:
    """The first frame from byte `start` on whose first sample is `sample` or later.

    Returns where it begins, and its first sample; None where there is none before `end`.
    """
    # Halve the bytes that it may lie in while they are many.
    low, high = start, end
    while high - low > 1 << 18:
        middle = (low + high) // 2
        found = next(_frames(file, middle, high, info), None)
        if found is None or found[1] >= sample:
            high = middle
        else:
            low = found[0]
    for offset, first in _frames(file, low, end, info):
        if first >= sample:
            return offset, first
    return None


def _frames(file: IO[bytes], start: int, end: int, info: FlacInfo) -> Iterator[tuple[int, int]]:
    """Frames in the order of their bytes: where each begins, and its first sample."""
    for offset, data in chunks(file, start, end, _LONGEST_HEADER, 1 << 16):
        for found in _SYNC.finditer(data):
            first = _first_sample(data[found.start() : found.start() + _LONGEST_HEADER], info)
            if first is not None and (not info.total or first < info.total):
                yield offset + found.start(), first


def _first_sample(head: bytes, info: FlacInfo) -> int | None:
    """The first sample of the frame that begins with `head`, None where none does."""
    if len(head) < 6 or head[3] & 1:
        return None
    size_code, rate_code, channel_code = head[2] >> 4, head[2] & 15, head[3] >> 4
    channels = channel_code + 1 if channel_code < 8 else 2
    if size_code == 0 or rate_code == 15 or channel_code > 10 or channels != info.channels:
        return None
    # The number is coded as UTF-8 codes characters, in up to seven bytes.
    lead = head[4]
    follow = 0 if lead < 0x80 else 8 - (~lead & 0xFF).bit_length() - 1
    if follow and not 1 <= follow <= 6:
        return None
    number = lead if not follow else lead & (0x3F >> follow)
    for byte in head[5 : 5 + follow]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at = 5 + follow + {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return number if head[1] & 1 else number * info.block


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ 0x107 if crc & 0x80 else crc << 1
    return crc
