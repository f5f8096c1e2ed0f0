"""Images on their way to a cloud: files, bytes and pixels become data URLs, addresses stay."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

from cactus.errors import CloudError, InvalidImage
from cactus.images.door import file_of, load
from cactus.images.formats import recognise
from cactus.images.picture import Limits, Policy

_ADDRESS = re.compile(r"(https?:|data:image/)", re.I)
_TAKEN = ("PNG", "JPEG", "GIF", "WEBP")
"""What services take; all else that is an image is sent as a PNG."""


def image_url(image: Any) -> str:
    """An address for an image: a path, the bytes of a file, pixels, or an address.

    Raises CloudError for what is not an image, or too large: it may be any file, and stays here.
    """
    if isinstance(image, str) and _ADDRESS.match(image):
        return image
    try:
        file = file_of(image, Limits(), Policy())
        kind = "PNG" if file is None else recognise(*file)
        if file is not None and kind in _TAKEN:
            data = file[0]
        else:
            kind, data = "PNG", _png(image if file is None else file[0])
    except InvalidImage as error:
        raise CloudError(f"an image: {error}", code="image") from None
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def _png(image: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(load(image).pixels).save(file, "PNG")
    return file.getvalue()


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a data URL; None for another address."""
    found = re.match(r"data:(image/[\w.+-]+);base64,", url, re.I)
    return (found[1], url[found.end() :]) if found else None
