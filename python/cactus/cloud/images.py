"""Images on their way to a cloud: files, bytes and pixels become data URLs, addresses stay."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

from cactus.errors import CactusError, CloudError
from cactus.inputs.checks import short
from cactus.inputs.files import read_bytes

LIMIT = 20 << 20
"""Bytes of an image at most; services take no more."""

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
)
_ADDRESS = re.compile(r"(https?:|data:image/)", re.I)


def image_url(image: Any) -> str:
    """An address for an image: a path, the bytes of a file, pixels, or an address.

    Raises CloudError for what cannot be read, is not a PNG, JPEG, GIF or WebP, or is too large.
    """
    if isinstance(image, str) and _ADDRESS.match(image):
        return image
    try:
        data = _bytes(image)
    except CactusError as error:
        raise CloudError(f"an image: {error}", code="image") from None
    if len(data) > LIMIT:
        raise CloudError(f"an image has {len(data)} bytes, more than {LIMIT}", code="image")
    kind = next((name for start, name in _KINDS if data.startswith(start)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        # What is no image may be any file of this machine: it stays here.
        name = short(image) if isinstance(image, str) else "bytes"
        raise CloudError(f"{name}: expected a PNG, JPEG, GIF or WebP image", code="image")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _bytes(image: Any) -> bytes:
    if isinstance(image, str):
        return read_bytes(Path(image), LIMIT)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    from PIL import Image

    from cactus.images.door import load

    file = io.BytesIO()
    Image.fromarray(load(image).pixels).save(file, "PNG")
    return file.getvalue()


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a data URL; None for another address."""
    found = re.match(r"data:(image/[\w.+-]+);base64,", url, re.I)
    return (found[1], url[found.end() :]) if found else None
