"""What messages hold beside text: images, which models look at, and speech, which is written down.

Nothing of this machine's files is ever read for a client.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from cactus.errors import InvalidAudio
from cactus.inputs.checks import short
from cactus.server.errors import ApiError
from cactus.server.params import invalid

if TYPE_CHECKING:
    from cactus.server.service import Service

_MEDIA = re.compile(r"image/[a-z0-9.+-]{1,60}")


def image_part(url: str, where: str) -> dict[str, str]:
    """The part of a message for `Model`, of a ``data:`` or an http(s) URL; `where` it was given.

    Raises ApiError for anything else: a path would be one of this machine.
    """
    if not url.lower().startswith(("data:image/", "http://", "https://")):
        raise invalid(
            "expected a data: URL of an image (data:image/png;base64,...) or an http(s) URL, got "
            f"{short(url, 40)}",
            where,
            "invalid_image",
        )
    return {"type": "image_url", "image_url": url}


def image_of_bytes(data: str, media_type: str, where: str) -> dict[str, str]:
    """The part of a message for `Model`, of an image as base64.

    Raises ApiError for what is not a type of images; `where` its type was given.
    """
    if not _MEDIA.fullmatch(media_type):
        raise invalid(
            f"expected a type of images such as image/png, got {short(media_type)}",
            where,
            "invalid_image",
        )
    return {"type": "image_url", "image_url": f"data:{media_type};base64,{data}"}


async def transcript(service: Service, data: str, where: str) -> str:
    """What is said in audio, as base64, written down by a speech model that is served.

    Raises ApiError naming `where` it was given.
    """
    try:
        audio = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"not base64: {str(error).lower()}", where, "invalid_audio") from None
    try:
        service.find(None, "transcribe")
    except ApiError:
        raise invalid(
            "no speech model is served that could write the audio down; serve one beside this "
            "model, or send text",
            where,
            "unsupported_media",
        ) from None
    async with service.use(None, "transcribe") as model:
        try:
            found = await model.atranscribe(audio)
        except InvalidAudio as error:
            raise invalid(str(error), where, "invalid_audio") from None
        service.meter.audio(model.name, found.duration)
        return found.text
