"""Image files of every kind, and videos, made in memory: small, and different in every pixel."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scene(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: smooth waves with some noise, as no two rows or columns are."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    slope = x / width - y / height
    waves = [np.sin(x / (7 + c) + seed) * np.cos(y / (11 - c)) + slope for c in range(3)]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    return np.clip(np.stack(waves, -1) * 50 + 128 + noise, 0, 255).astype(np.uint8)


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A PIL image of `scene` in a mode; alpha, where there is one, grows from left to right."""
    rgb = Image.fromarray(scene(width, height, seed))
    if mode == "P":
        return rgb.quantize(16)
    if mode in ("RGBA", "LA"):
        alpha = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
        whole = rgb.copy()
        whole.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
        return whole.convert(mode)
    if mode == "I;16":
        grey = np.asarray(rgb.convert("L")).astype(np.uint16) << 8 | 0x5A
        return Image.fromarray(grey)
    return rgb.convert(mode)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG with its right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of a header and given chunks, however wrong."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")))


def exif(orientation: int, order: str = "<") -> bytes:
    """A block of EXIF with an orientation and nothing else."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return start + struct.pack(f"{order}IH", 8, 1) + entry + struct.pack(f"{order}I", 0)


def video(seconds: int, form: str = "mp4", codec: str = "mpeg4", width: int = 64) -> bytes:
    """A video of 10 frames a second; the n-th is as bright as 8·n, brighter in its left half."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=form) as made:
        stream = made.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
        for number in range(seconds * 10):
            pixels = np.full((48, width, 3), min(8 * number % 200, 255), np.uint8)
            pixels[:, : width // 2] += 40
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                made.mux(packet)
        for packet in stream.encode():
            made.mux(packet)
    return file.getvalue()
