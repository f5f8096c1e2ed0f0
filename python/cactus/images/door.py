"""The one way in: whatever a caller calls an image becomes a Picture, or an error that says why."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from cactus.errors import InvalidImage
from cactus.images.picture import Limits, Picture, Policy, strips
from cactus.inputs.checks import short
from cactus.inputs.files import open_regular
from cactus.inputs.text import reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?=//)|(data|file):", re.I)
_DATA = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.I | re.A)


def load(source: Any, limits: Limits | None = None, policy: Policy | None = None) -> Picture:
    """The pixels of an image: a path, a file's bytes or file object, a `data:` or http(s) URL, a
    PIL image, or a NumPy array.

    A file may be a PNG, JPEG, WebP, GIF or BMP, which its own bytes say; of an animation the first
    frame is taken. Raises InvalidImage, also for what the policy does not allow.
    """
    limits = limits or Limits()
    if isinstance(source, Picture):
        limits.check_size(source.width, source.height, source.name)
        return source
    file = file_of(source, limits, policy or Policy())
    if file is None:
        return _of_object(source, limits)
    from cactus.images.decode import decode

    return decode(*file, limits)


def measure(
    source: Any, limits: Limits | None = None, policy: Policy | None = None
) -> tuple[int, int]:
    """Width and height of an image, upright, as `load` would make it; a file is not decoded.

    Raises InvalidImage.
    """
    limits = limits or Limits()
    file = None if isinstance(source, Picture) else file_of(source, limits, policy or Policy())
    if file is None:
        picture = load(source, limits, policy)
        return picture.width, picture.height
    from cactus.images.decode import examine

    return examine(*file, limits)[1].upright


def file_of(source: Any, limits: Limits, policy: Policy) -> tuple[bytes, str] | None:
    """The bytes of an image file and what to call it in messages; None for what is not a file."""
    name = "image"
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, str) and (found := _SCHEME.match(source)):
        data, name = _of_url(source, (found[1] or found[2]).lower(), limits, policy)
    elif isinstance(source, (str, os.PathLike)):
        if not policy.local_files:
            raise InvalidImage(
                "an image is given as a path; here only bytes and data: URLs are taken"
            )
        data, name = read_path(os.fspath(source), limits)
    elif is_file_object(source):
        return read_object(source, limits), "image"
    else:
        return None
    limits.check_bytes(len(data), name)
    return data, name


def _of_url(url: str, scheme: str, limits: Limits, policy: Policy) -> tuple[bytes, str]:
    if scheme == "data":
        return _data_of(url, limits), "the image in a data: URL"
    shown = short(url)
    if scheme not in ("http", "https"):
        what = "give the path itself" if scheme == "file" else "give a path or bytes"
        raise InvalidImage(f"{shown}: {scheme}: addresses are not read; {what}")
    if not policy.urls:
        raise InvalidImage(
            f"{shown} is an address, and fetching images is not allowed here; download it first "
            "and give its path or bytes"
        )
    from cactus.images.remote import fetch

    return fetch(url, limits)


def _data_of(url: str, limits: Limits) -> bytes:
    """What a data: URL holds. Raises InvalidImage, before decoding where it is too long."""
    name = "the image in a data: URL"
    found = _DATA.match(url[:300])
    if not found or not found[1].lower().startswith("image/"):
        raise InvalidImage(
            f"{short(url, 40)} is not the data: URL of an image; expected "
            '"data:image/png;base64," and the file in base64'
        )
    limits.check_bytes(1 + (len(url) - found.end()) // 3, name)  # %AB is one byte
    text = unquote_to_bytes(url[found.end() :])
    if not found[2].lower().endswith(";base64"):
        return text
    text = text.translate(None, b" \t\r\n")
    limits.check_bytes(len(text) // 4 * 3 - text[-2:].count(b"="), name)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"{name} is not base64: {str(error).lower()}") from None


def read_path(path: str | bytes, limits: Limits) -> tuple[bytes, str]:
    """A file's bytes, and what to call it. Raises InvalidImage."""
    file, name = open_path(path)
    with file:
        limits.check_bytes(os.fstat(file.fileno()).st_size, name)
        try:
            return file.read(limits.file_bytes + 1), name
        except OSError as error:
            raise InvalidImage(f"{name}: cannot be read: {reason_of(error)}") from None


def open_path(path: str | bytes) -> tuple[IO[bytes], str]:
    """A regular file, and what to call it; waits for nobody. Raises InvalidImage."""
    return open_regular(path, "image", InvalidImage)


def is_file_object(source: Any) -> bool:
    """Whether it can be read as a file."""
    return callable(getattr(source, "read", None))


def read_object(source: Any, limits: Limits) -> bytes:
    """The rest of a binary file object, which is put back to where it was, if it can be: it may be
    given again. Raises InvalidImage.
    """
    name = "the file object"
    if isinstance(source, io.TextIOBase):
        raise InvalidImage(f'{name} is one of text; open it with mode "rb"')
    place = None
    with suppress(AttributeError, OSError, ValueError):
        place = source.tell()
    parts, size = [], 0
    try:
        while size <= limits.file_bytes and (part := source.read(limits.file_bytes + 1 - size)):
            parts.append(bytes(part))
            size += len(part)
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise InvalidImage(f"{name} cannot be read: {reason_of(error)}") from None
    if place is not None:
        with suppress(AttributeError, OSError, ValueError):
            source.seek(place)
    if not size:
        raise InvalidImage(f"{name} is at its end, nothing is left to read; seek(0) goes back")
    limits.check_bytes(size, name)
    return b"".join(parts)


def _of_object(source: Any, limits: Limits) -> Picture:
    import numpy as np
    from PIL import Image

    from cactus.images.decode import adopt

    if isinstance(source, Image.Image):
        return adopt(source, "the PIL image", limits)
    if isinstance(source, np.ndarray):
        return adopt_array(np.asarray(source), limits)  # a matrix has two axes whatever is done
    raise InvalidImage(
        f"an image is {type(source).__name__}, expected a path, bytes, a file object, a data: URL, "
        "a PIL image or a NumPy array"
    )


def adopt_array(array: NDArray[Any], limits: Limits) -> Picture:
    """An array [height, width] or [height, width, 1, 3 or 4] of uint8, uint16, or floats 0 to 1."""
    import numpy as np

    name = "the array"
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise InvalidImage(
            f"{name} has the shape {array.shape}; expected [height, width] or "
            "[height, width, channels] with 1, 3 (RGB) or 4 (RGBA) channels"
        )
    limits.check_size(array.shape[1], array.shape[0], name)
    if array.dtype.kind == "f":
        # One comparison that NaN fails, too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise InvalidImage(f"{name} has floats outside 0 to 1; scale it, or give uint8")
    elif array.dtype not in (np.uint8, np.uint16, np.bool_):
        raise InvalidImage(
            f"{name} is of the type {array.dtype}; expected uint8, uint16, or floats from 0 to 1"
        )
    pixels = np.empty((*array.shape[:2], 3), np.uint8)
    for top, end in strips(array.shape[1], array.shape[0]):
        pixels[top:end] = _array_to_rgb(array[top:end])
    pixels.setflags(write=False)
    return Picture(pixels, name)


def _array_to_rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 [height, width, 3 or 1]: alpha on white, and of 16 bits the higher eight."""
    import numpy as np

    if array.dtype.kind == "f":
        array = np.rint(array.astype(np.float32) * 255)
    elif array.dtype == np.uint16:
        array = array >> 8
    elif array.dtype == np.bool_:
        array = array * 255
    if array.shape[2] < 4:
        return array.astype(np.uint8)
    alpha = array[..., 3:].astype(np.uint16)
    mixed = array[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
