"""The images that all processors are compared on, as files: shapes, sizes and kinds."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from tests.images.made import exif, picture, save, scene

TABLE = (
    *((256, 256), (640, 480), (720, 720), (724, 724), (1024, 768), (1280, 720)),
    *((1280, 1024), (1920, 1080)),
)
"""Sizes whose counts of tokens are known."""


@cache
def samples() -> dict[str, bytes]:
    """Name to file; none of them has losses that depend on a library's version, but the CMYK."""
    huge = Image.fromarray(np.tile(scene(400, 300), (8, 8, 1)))
    frames = [picture(200, 120, seed=seed) for seed in range(3)]
    made = {f"{wide}x{high}": save(picture(wide, high), "PNG") for wide, high in TABLE}
    return made | {
        "portrait": save(picture(300, 500), "PNG"),
        "landscape": save(picture(500, 260), "BMP"),
        "tiny": save(picture(5, 3), "PNG"),
        "1xN": save(picture(1, 180), "PNG"),
        "Nx1": save(picture(180, 1), "PNG"),
        "line": save(picture(400, 10), "PNG"),
        "huge": save(huge, "PNG", compress_level=1),
        "grey": save(picture(333, 222, "L"), "PNG"),
        "rgba": save(picture(333, 222, "RGBA"), "PNG"),
        "palette": save(picture(333, 222, "P"), "PNG", transparency=bytes(range(0, 240, 15))),
        "16-bit": save(picture(333, 222, "I;16"), "PNG"),
        "cmyk": save(picture(333, 222, "CMYK"), "JPEG", quality=95),
        "exif": save(picture(333, 222), "PNG", exif=b"Exif\0\0" + exif(6)),
        "animated": save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
    }
