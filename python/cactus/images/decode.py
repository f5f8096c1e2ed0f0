"""Decoding an image file with Pillow, and any PIL image as upright 8-bit RGB on white."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

from cactus.errors import InvalidImage
from cactus.images.formats import recognise
from cactus.images.headers import Header, exif_orientation, read_header
from cactus.images.picture import Limits, Picture, strips
from cactus.inputs.text import reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_PLUGINS = {"PNG": "Png", "JPEG": "Jpeg", "WEBP": "WebP", "GIF": "Gif", "BMP": "Bmp"}


def examine(data: bytes, name: str, limits: Limits) -> tuple[str, Header]:
    """Kind and header of a file's bytes, checked against the limits. Raises InvalidImage."""
    kind = recognise(data, name)
    header = read_header(kind, data, name)
    limits.check_size(header.width, header.height, name)
    return kind, header


def decode(data: bytes, name: str, limits: Limits) -> Picture:
    """The first image of a file's bytes; `name` is for messages.

    The size is compared with the limits before anything is decoded, and again with what the
    decoder finds. Raises InvalidImage.
    """
    from PIL import Image

    kind, header = examine(data, name, limits)
    importlib.import_module(f"PIL.{_PLUGINS[kind]}ImagePlugin")
    try:
        with Image.open(io.BytesIO(header.data), formats=(kind,)) as image:
            if image.size != (header.width, header.height):
                raise ValueError(f"it is {header.width} x {header.height} and {image.size} at once")
            image.load()
            return Picture(to_rgb(image, header.orientation), name)
    except Exception as error:
        # Decoders raise whatever comes: OSError, SyntaxError, ValueError, struct.error …
        reason = str(error).partition(" <_io")[0] or type(error).__name__
        raise InvalidImage(f"{name} is a {kind} that cannot be decoded: {reason}") from None


def adopt(image: Image.Image, name: str, limits: Limits) -> Picture:
    """A caller's PIL image, of whatever kind. Raises InvalidImage."""
    limits.check_size(*image.size, name)
    try:
        image.load()
        exif = image.info.get("exif")
        orientation = exif_orientation(exif) if isinstance(exif, bytes) else 1
        return Picture(to_rgb(image, orientation), name)
    except InvalidImage:
        raise
    except Exception as error:
        reason = reason_of(error)
        raise InvalidImage(f"{name} cannot be read: {reason}") from None


def to_rgb(image: Image.Image, orientation: int = 1) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] of a loaded PIL image: alpha on white, turned upright.

    Of 16 bits the higher eight count. Raises InvalidImage for modes without a range of their own.
    """
    import numpy as np

    if image.mode in ("I", "F"):
        raise InvalidImage(
            f"a PIL image of mode {image.mode} does not say which value is white; convert it to "
            'mode "L", "I;16" or "RGB"'
        )
    width, height = image.size
    turned = orientation >= 5
    result = np.empty((width, height, 3) if turned else (height, width, 3), np.uint8)
    stored = upright_view(result, orientation)
    for top, end in strips(width, height):
        strip = image.crop((0, top, width, end))
        stored[top:end] = _strip_to_rgb(strip, image.info.get("transparency"))
    result.setflags(write=False)
    return result


def upright_view(result: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The view of an upright image in which rows and columns lie as an EXIF orientation stores."""
    view = result.transpose(1, 0, 2) if orientation >= 5 else result
    # By row 0 and column 0 of what is stored: 2 right, 3 bottom right, 4 bottom; 6 right, 7 bottom
    # right, 8 bottom, where rows are columns.
    if orientation in (3, 4, 6, 7):
        view = view[::-1]
    if orientation in (2, 3, 7, 8):
        view = view[:, ::-1]
    return view


def _strip_to_rgb(strip: Image.Image, transparency: Any) -> NDArray[Any]:
    """uint8 [height, width, 3], or [height, width, 1] of a grey one."""
    import numpy as np
    from PIL import Image

    if strip.mode.startswith("I;16"):
        deep = np.asarray(strip)
        grey = (deep >> 8).astype(np.uint8)
        if isinstance(transparency, int):
            grey[deep == transparency] = 255
        return grey[..., None]
    if "A" in strip.getbands() or "a" in strip.getbands() or transparency is not None:
        strip = strip.convert("RGBA")
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        strip = Image.alpha_composite(white, strip)
    return np.asarray(strip.convert("RGB"))
