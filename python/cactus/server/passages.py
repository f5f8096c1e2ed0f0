"""Passages of documents by an id that a client can give back."""

from __future__ import annotations

import base64
import binascii
import json

from cactus.server.errors import ApiError


def passage_id(source: str, start: int, end: int) -> str:
    """The id of the characters from `start` to `end` of a document; it needs nothing kept."""
    row = json.dumps([source, start, end], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(row.encode()).decode().rstrip("=")


def passage_of(id: str) -> tuple[str, int, int]:
    """What an id stands for: the document, and its characters. Raises ApiError 404."""
    try:
        row = json.loads(base64.urlsafe_b64decode(id + "=" * (-len(id) % 4)))
        source, start, end = row
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError):
        raise _unknown() from None
    if not isinstance(source, str) or not (type(start) is type(end) is int):
        raise _unknown()
    if not 0 <= start <= end:
        raise _unknown()
    return source, start, end


def _unknown() -> ApiError:
    return ApiError(404, "there is no such passage", code="not_found", param="passage_id")
