"""Images of every kind through the door of images.

Small images are taken apart into chunks, segments or fields; sizes, depths, lengths and counts are
changed, parts are dropped, doubled, moved between files, or their compressed data is replaced;
checksums are put right again. Each goes through as bytes, as a `data:` URL or as a PIL image, and
must be a picture of the size that `measure` says, or InvalidImage.
"""

from __future__ import annotations

import base64
import contextlib
import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from cactus.errors import InvalidImage
from cactus.images.door import load, measure
from cactus.images.picture import Limits
from fuzzers.base import Case, Fuzzer
from tests.images.made import chunk, exif, picture, save

LIMITS = Limits(pixels=2_000_000, file_bytes=1 << 20)
SIZES = (0, 1, 2, 3, 7, 8, 16, 31, 40, 255, 256, 1000, 1414, 4096, 16383, 32768, 65535, 65536)
NUMBERS = (*SIZES, 2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def seeds() -> dict[str, list[bytes]]:
    """Small images of every kind."""
    modes = ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")
    frames = [picture(24, 20, seed=seed) for seed in range(3)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 10}
    turned = {"exif": b"Exif\0\0" + exif(6)}
    rgb, palette = frames[0], picture(24, 20, "P")
    return {
        "png": [
            *(save(picture(24, 20, mode), "PNG") for mode in modes),
            save(rgb, "PNG", **more),
            save(rgb, "PNG", icc_profile=bytes(200), **turned),
            save(palette, "PNG", transparency=bytes(range(16))),
        ],
        "jpeg": [
            *(save(picture(24, 20, mode), "JPEG") for mode in ("L", "RGB", "CMYK")),
            save(rgb, "JPEG", progressive=True, icc_profile=bytes(200), **turned),
            save(rgb, "JPEG", subsampling=0, restart_marker_blocks=1, comment=b"a comment"),
        ],
        "webp": [
            save(rgb, "WEBP"),
            save(rgb, "WEBP", lossless=True),
            save(picture(24, 20, "RGBA"), "WEBP", icc_profile=bytes(200), **turned),
            save(rgb, "WEBP", lossless=True, **more),
        ],
        "gif": [
            save(palette, "GIF", transparency=3, comment=b"a comment"),
            save(rgb, "GIF", **more, disposal=2),
            save(palette, "GIF", interlace=0),
        ],
        "bmp": [
            *(save(picture(24, 20, mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
            run_length(),
        ],
    }


def run_length() -> bytes:
    """A BMP of 8 bits with run-length encoding."""
    rows = b"".join(bytes((24, row)) + b"\0\0" for row in range(20)) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 24, 20, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = b"BM" + struct.pack("<IHHI", 54 + 1024 + len(rows), 0, 0, 54 + 1024)
    return start + header + bytes(range(256)) * 4 + rows


def other_list(rng: random.Random, parts: list[Any], others: list[Any]) -> None:
    """Drop, double, swap or take over one of the parts."""
    action, at = rng.randrange(5), rng.randrange(len(parts))
    if action == 0 and len(parts) > 1:
        del parts[at]
    elif action == 1:
        parts.insert(rng.randrange(len(parts) + 1), parts[at])
    elif action == 2:
        other = rng.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    elif action == 3:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(others))
    else:
        parts[at] = rng.choice(others)


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes of a part, or its length."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not data:
            return rng.randbytes(rng.choice((0, 1, 5, 40)))
        at = rng.randrange(len(data))
        action = rng.randrange(5)
        if action == 0:
            data = put(data, at, bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))]))
        elif action == 1:
            data = data[:at]
        elif action == 2:
            data = data[:at] + rng.randbytes(rng.choice((1, 2, 300))) + data[at:]
        elif action == 3:
            order, kind = rng.choice("<>"), rng.choice("HI")
            number = rng.choice(NUMBERS) % 2 ** (16 if kind == "H" else 32)
            data = put(data, at, struct.pack(order + kind, number))
        else:
            data = data[:at] + data[at : at + 20] * rng.choice((2, 50)) + data[at:]
    return data


# PNG and WebP: their chunks

Chunks = list[tuple[bytes, bytes]]


def change_chunks(
    rng: random.Random,
    files: tuple[Chunks, Chunks],
    change_own: Callable[[random.Random, Chunks, int], None],
    kinds: tuple[bytes, ...],
) -> Chunks:
    """The chunks of the first file: what a format has of its own, kinds, bytes or order changed.

    `kinds` are what a chunk may become; some are taken from the second file.
    """
    parts, others = files
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(parts))
        kind, body = parts[at]
        action = rng.randrange(7)
        if action <= 2:
            change_own(rng, parts, at)
        elif action == 3:
            parts[at] = (rng.choice(kinds), rng.choice((body, rng.randbytes(rng.randrange(60)))))
        elif action == 4:
            parts[at] = (kind, change_bytes(rng, body))
        else:
            other_list(rng, parts, others)
    return parts


def png_parts(data: bytes) -> Chunks:
    parts, at = [], 8
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        parts.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return parts


PNG_KINDS = (b"PLTE", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"sBIT", b"abCD")
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by the kind of colour."""


def change_png(rng: random.Random, parts: Chunks, at: int) -> None:
    """Another header, other pixels, or pixels that fit the header."""
    place = next((i for i, part in enumerate(parts) if part[0] == b"IHDR"), at)
    pixels = next((i for i, part in enumerate(parts) if part[0] == b"IDAT"), at)
    action = rng.randrange(3)
    if action == 0:
        wide, high = (rng.choice(SIZES), rng.choice(SIZES)) if rng.random() < 0.5 else (24, 20)
        rest = rng.choice((1, 2, 4, 8, 16, 3, 0)), rng.choice((0, 2, 3, 4, 6, 1, 9))
        last = rng.choice((0, 0, 1)), rng.choice((0, 0, 1, 2)), rng.choice((0, 0, 0, 1))
        parts[place] = (b"IHDR", struct.pack(">IIBBBBB", wide, high, *rest, *last))
    elif action == 1:
        size = rng.choice((0, 1, 100, 5000, 3_000_000))
        raw = bytes(size) if rng.random() < 0.5 else rng.randbytes(min(size, 5000))
        kind = rng.choice((b"IDAT", b"IDAT", b"zTXt", b"iCCP", parts[at][0]))
        parts[at] = (kind, zlib.compress(raw))
    else:
        wide, high = rng.choice((1, 3, 24)), rng.choice((1, 8, 20))
        colour = rng.choice(tuple(CHANNELS))
        depths = {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16))
        depth = rng.choice(depths)
        row = (wide * depth * CHANNELS[colour] + 7) // 8
        raw = b"".join(bytes([rng.randrange(5)]) + rng.randbytes(row) for _ in range(high))
        head = struct.pack(">IIBBBBB", wide, high, depth, colour, 0, 0, rng.choice((0, 0, 0, 1)))
        parts[place], parts[pixels] = (b"IHDR", head), (b"IDAT", zlib.compress(raw))
        if colour == 3:
            parts.insert(place + 1, (b"PLTE", rng.randbytes(3 * rng.choice((1, 2, 16, 256)))))


def png(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    files = png_parts(rng.choice(all_seeds)), png_parts(rng.choice(all_seeds))
    parts = change_chunks(rng, files, change_png, PNG_KINDS)
    made = [chunk(kind, body) for kind, body in parts]
    if rng.random() < 0.2:
        at = rng.randrange(len(made))
        made[at] = struct.pack(">I", rng.choice(NUMBERS) % 2**32) + made[at][4:]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def webp_parts(data: bytes) -> Chunks:
    parts, at = [], 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        parts.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return parts


WEBP_KINDS = (b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"ICCP", b"VP8L", b"what")


def change_webp(rng: random.Random, parts: Chunks, at: int) -> None:
    """Other sizes in a chunk, or one more that says what there is."""
    kind, body = parts[at]
    sizes = [rng.choice(SIZES) for _ in range(2)]
    if rng.random() < 0.5:
        flags = bytes([rng.randrange(64), 0, 0, 0])
        parts.insert(0, (b"VP8X", flags + struct.pack("<HBHB", 23, 0, 19, 0)))
        return
    if kind == b"VP8 ":
        body = put(body, 6, struct.pack("<HH", *(size % 65536 for size in sizes)))
    elif kind == b"VP8L":
        bits = sizes[0] % 2**14 | sizes[1] % 2**14 << 14 | rng.getrandbits(4) << 28
        body = put(body, 1, struct.pack("<I", bits))
    elif kind in (b"VP8X", b"ANMF"):
        where = 4 if kind == b"VP8X" else rng.choice((0, 6))
        body = put(body, where, b"".join(struct.pack("<I", s)[:3] for s in sizes))
    parts[at] = (kind, body)


def webp(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    files = webp_parts(rng.choice(all_seeds)), webp_parts(rng.choice(all_seeds))
    made = []
    for kind, body in change_chunks(rng, files, change_webp, WEBP_KINDS):
        size = len(body) if rng.random() < 0.95 else rng.choice(NUMBERS) % 2**32
        made.append(kind + struct.pack("<I", size) + body + bytes(len(body) % 2))
    body = b"WEBP" + b"".join(made)
    size = len(body) if rng.random() < 0.9 else rng.choice(NUMBERS) % 2**32
    return b"RIFF" + struct.pack("<I", size) + body


# JPEG


def jpeg_parts(data: bytes) -> list[bytes]:
    """Segments, each with the pixels behind it."""
    parts, at = [], 2
    while at + 4 <= len(data):
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if data[at + 1] == 0xDA:
            while end < len(data) and not (data[end] == 0xFF and 0x01 < data[end + 1] < 0xD0):
                end += 1
                if data[end : end + 2] in (b"\xff\xd9", b"\xff\xda"):
                    break
        parts.append(data[at:end])
        at = end
    return parts


def jpeg(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    parts = jpeg_parts(rng.choice(all_seeds))
    others = jpeg_parts(rng.choice(all_seeds))
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(parts))
        action = rng.randrange(6)
        if action == 0:
            frames = [i for i, part in enumerate(parts) if part[1:2] in (b"\xc0", b"\xc2")]
            if frames:
                at = rng.choice(frames)
                sizes = struct.pack(">HH", rng.choice(SIZES) % 65536, rng.choice(SIZES) % 65536)
                parts[at] = put(parts[at], 5, sizes)
                if rng.random() < 0.3:
                    parts[at] = put(parts[at], 1, bytes([rng.randrange(0xC0, 0xD0)]))
        elif action == 1:
            parts[at] = parts[at][:2] + change_bytes(rng, parts[at][2:])
        elif action == 2:  # its length stays right
            body = change_bytes(rng, parts[at][4:])[:60000]
            parts[at] = parts[at][:2] + struct.pack(">H", len(body) + 2) + body
        elif action == 3:
            scans = [part for part in parts if part[1:2] == b"\xda"]
            parts += (scans or [b"\xff\xda\0\2"])[-1:] * rng.choice((1, 20, 200))
        elif action == 4:
            block = b"Exif\0\0" + change_bytes(rng, exif(rng.randrange(9), rng.choice("<>")))
            parts.insert(at, b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block)
        else:
            other_list(rng, parts, others)
    return b"\xff\xd8" + b"".join(parts) + rng.choice((b"\xff\xd9", b"\xff\xd9", b""))


# GIF and BMP: their fields


def gif(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    data = rng.choice(all_seeds)
    frames = [at for at in range(13, len(data) - 10) if data[at] == 0x2C]
    for _ in range(rng.choice((1, 2, 3))):
        action = rng.randrange(6)
        sizes = struct.pack("<HH", rng.choice(SIZES) % 65536, rng.choice(SIZES) % 65536)
        at = rng.choice(frames)
        if action == 0:
            data = put(data, 6, sizes)
        elif action == 1:
            data = put(data, rng.choice((at + 1, at + 5)), sizes)
        elif action == 2:
            data = put(data, rng.choice((10, at + 9)), bytes([rng.randrange(256)]))
        elif action == 3:
            data = put(data, at + 10, bytes([rng.randrange(256)]))  # the first code's bits
        elif action == 4:
            block = b"\x21" + bytes([rng.choice((0xF9, 0xFE, 0xFF, 1))])
            block += bytes([rng.choice((0, 1, 4, 11, 255))]) + rng.randbytes(5)
            data = data[:at] + block * rng.choice((1, 300)) + data[at:]
        else:
            data = data[:13] + change_bytes(rng, data[13:])
    return data


def bmp(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    data = rng.choice(all_seeds)
    fields = ((10, "I"), (14, "I"), (18, "i"), (22, "i"), (26, "H"), (28, "H"), (30, "I"))
    fields += ((34, "I"), (46, "I"), (50, "I"), (54, "I"))
    for _ in range(rng.choice((1, 2, 3))):
        at, kind = rng.choice(fields)
        number = rng.choice(
            {14: (12, 16, 40, 52, 56, 64, 108, 124), 28: (0, 1, 2, 4, 8, 16, 24, 32, 48)}.get(
                at, {30: (0, 1, 2, 3, 4, 5, 6, 11)}.get(at, NUMBERS)
            )
        )
        if kind == "i":
            data = put(data, at, struct.pack("<i", rng.choice((1, -1)) * min(number, 2**31 - 1)))
        else:
            data = put(data, at, struct.pack("<" + kind, number % 2 ** (16 if kind == "H" else 32)))
        if rng.random() < 0.3:
            data = data[:54] + change_bytes(rng, data[54:])
    return data


MAKERS: dict[str, Callable[[random.Random, list[bytes]], bytes]] = {
    "png": png,
    "jpeg": jpeg,
    "webp": webp,
    "gif": gif,
    "bmp": bmp,
}


def damaged(rng: random.Random, kind: str, all_seeds: dict[str, list[bytes]]) -> bytes:
    """A file of a kind, changed in its structure, as bytes, or in both ways."""
    data = (
        MAKERS[kind](rng, all_seeds[kind]) if rng.random() < 0.85 else rng.choice(all_seeds[kind])
    )
    if rng.random() < 0.25:
        data = change_bytes(rng, data)
    if rng.random() < 0.02:
        other = rng.choice(all_seeds[rng.choice(list(all_seeds))])
        data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]
    return data


def open_one(rng: random.Random, data: bytes) -> None:
    """Send a file through the door; raises InvalidImage, or AssertionError where it lies."""
    way = rng.random()

    def source() -> Any:
        if way < 0.1:
            return "data:image/png;base64," + base64.b64encode(data).decode()
        if way < 0.2:
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own door is not ours
                return Image.open(io.BytesIO(data))
        return data

    try:
        size = measure(source(), LIMITS)
    except InvalidImage:
        size = None
    loaded = load(source(), LIMITS)
    assert (loaded.width, loaded.height) == size, f"{size} was measured"
    assert loaded.pixels.shape[2:] == (3,) and loaded.pixels.dtype == "uint8"


class Fuzz(Fuzzer):
    """Images through the door."""

    errors = (InvalidImage,)
    memory = 256 << 20  # 2 megapixels several times over, and Pillow's buffers
    longest = 600

    def __init__(self, scratch: Path) -> None:
        self.seeds = seeds()
        for each in (data for many in self.seeds.values() for data in many):
            load(each, LIMITS)  # all of them are right, and Pillow has all that it loads

    def make(self, rng: random.Random) -> Case:
        """A damaged image."""
        kind = rng.choice(list(MAKERS))
        return Case(kind, damaged(rng, kind, self.seeds))

    def run(self, case: Case) -> None:
        """Open it; an image is never too large for the memory that it may take."""
        try:
            open_one(case.chance(), case.data)
        except InvalidImage as error:
            assert "emory" not in str(error), error
            raise
