"""What an image file says of itself before a decoder sees it: its size and which way is up.

`read_header` also leaves out whatever does not make pixels (comments, colour profiles, previews,
further images): a decoder cannot be led astray by what it is not given. Nothing is decompressed.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from cactus.errors import InvalidImage

MOST_SCANS = 100
"""Passes over a JPEG's pixels; a progressive one has about ten, and each may cost the whole."""

_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers with a JPEG's size
_JPEG_APPLICATION = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})  # without JFIF's and Adobe's
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")


@dataclass(frozen=True)
class Header:
    """The size of an image as stored, its EXIF orientation (1 to 8), and what a decoder needs."""

    width: int
    height: int
    orientation: int
    data: bytes

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the image is turned."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)


def read_header(kind: str, data: bytes, name: str) -> Header:
    """The header of a file of a known kind. Raises InvalidImage where it is cut or senseless."""
    try:
        return _READERS[kind](data)
    except (struct.error, IndexError):
        raise InvalidImage(f"{name} is cut off: {len(data):,} bytes are not all of it") from None
    except ValueError as error:
        raise InvalidImage(f"{name} is damaged: {error}") from None


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, kept, at = 1, [data[:8]], 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if (at == 8) != (kind == b"IHDR") or (at == 8 and size != 13):
            raise ValueError("a PNG begins with one header of 13 bytes")
        if kind == b"tRNS" and data[24:26] == b"\x10\x02":
            # Decoders keep the higher bytes of 16-bit RGB, and compare those.
            colour = b"tRNS" + bytes(b for v in data[at + 8 : end - 4 : 2] for b in (0, v))
            kept.append(struct.pack(">I", size) + colour + struct.pack(">I", zlib.crc32(colour)))
        elif kind in _PIXEL_CHUNKS:
            kept.append(data[at:end])
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])
        at = len(data) if kind == b"IEND" else end
    return Header(width, height, orientation, b"".join(kept))


def _jpeg(data: bytes) -> Header:
    width = height = scans = 0
    orientation, kept = 1, [b"\xff\xd8"]
    for marker, start, end in _segments(data):
        if marker in _SIZES:
            if width:
                raise ValueError("a JPEG with two sizes")
            height, width = struct.unpack_from(">HH", data, start + 5)
        elif marker == 0xDA:
            scans += 1
            if scans > MOST_SCANS:
                raise ValueError(f"more than {MOST_SCANS} passes over its pixels")
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(data[start + 10 : end])
        if marker not in _JPEG_APPLICATION:
            kept.append(data[start:end])
    if not scans:
        raise struct.error
    return Header(width, height, orientation, b"".join(kept))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first and last byte of each segment; pixels belong to the segment before them."""
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            raise ValueError(f"byte {at} of a JPEG is {data[at]:#04x}, expected a marker")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in (0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            raise ValueError(f"an unexpected marker {marker:#04x} at byte {at} of a JPEG")
        if marker == 0xD9:
            yield marker, at, at + 2
            return
        (size,) = struct.unpack_from(">H", data, at + 2)
        if size < 2:
            raise ValueError(f"a segment of {size} bytes at byte {at} of a JPEG")
        end = at + 2 + size
        if marker == 0xDA:
            found = _MARKER.search(data, end)
            end = found.start() if found else len(data)
        yield marker, at, end
        at = end


def _webp(data: bytes) -> Header:
    size = (0, 0)
    orientation, kept, at = 1, [], 12
    end_of_file = 8 + struct.unpack_from("<I", data, 4)[0]
    if end_of_file > len(data):
        raise struct.error
    while at + 8 <= end_of_file:
        kind, length = struct.unpack_from("<4sI", data, at)
        start, end = at + 8, at + 8 + length
        chunk = data[at : end + length % 2]
        if kind == b"EXIF":
            orientation = exif_orientation(data[start:end])
        elif kind == b"VP8X":
            wide, high = (int.from_bytes(data[start + n : start + n + 3], "little") for n in (4, 7))
            size = size if any(size) else (wide + 1, high + 1)
            # No longer there: a colour profile, EXIF and XMP.
            kept.append(chunk[:8] + bytes([chunk[8] & ~0x2C]) + chunk[9:])
        elif kind not in (b"ICCP", b"XMP "):
            if kind == b"VP8 " and not any(size):
                wide, high = struct.unpack_from("<HH", data, start + 6)
                size = (wide & 0x3FFF, high & 0x3FFF)
            elif kind == b"VP8L" and not any(size):
                bits = int.from_bytes(data[start + 1 : start + 5], "little")
                size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            kept.append(chunk)
        at = end + length % 2
    if not kept:
        raise ValueError("a WebP without an image")
    body = b"WEBP" + b"".join(kept)
    return Header(*size, orientation, b"RIFF" + struct.pack("<I", len(body)) + body)


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at] == 0x21:  # extensions, each a list of blocks
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] != 0x2C:
        raise ValueError(f"byte {at} of a GIF is {data[at]:#04x}, expected an image")
    left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
    if not wide or not high:
        raise ValueError("the first frame has no pixels")
    # A frame may be larger than the screen; decoders then make the screen larger.
    return Header(max(width, left + wide), max(height, top + high), 1, data)


def _bmp(data: bytes) -> Header:
    size = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header(width, abs(height), 1, data)


_READERS = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp, "GIF": _gif, "BMP": _bmp}


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in a block of EXIF; 1 where there is none or the block is broken.

    Only that one tag is read: a block may claim more tags, and longer ones, than memory holds.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == 0x0112:
                return value if kind == 3 and number == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
