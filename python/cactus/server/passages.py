"""Passages of documents by an id that a client can give back."""

from __future__ import annotations

import base64
import json


def passage_id(source: str, start: int, end: int) -> str:
    """The id of the characters from `start` to `end` of a document; it needs nothing kept."""
    row = json.dumps([source, start, end], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(row.encode()).decode().rstrip("=")
