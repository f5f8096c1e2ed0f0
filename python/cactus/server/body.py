"""Bodies of requests, within limits that hold before anything is kept."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request

from cactus.server.errors import ApiError

MAX_DEPTH = 64
"""Brackets in brackets at most, in a body of JSON."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of `limit` bytes at most. Raises ApiError 413 and 415."""
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind and kind != "application/json":
        raise ApiError(
            415, f"the body must be application/json, got {kind!r:.100}", code="unsupported_media"
        )
    _check_coding(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


async def read_form(request: Request, kind: Any, limit: int) -> tuple[FormData, Any]:
    """The form and the fields of it that `kind` has, files apart. Raises ApiError."""
    raise ApiError(501, "forms are not read yet", code="not_implemented")


def _check_coding(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise ApiError(
            415, f"the body must not be compressed, got {coding!r:.100}", code="unsupported_media"
        )


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body has more than {limit} bytes", code="body_too_large")


def check_depth(raw: bytes) -> None:
    """Raises ApiError where brackets lie deeper in each other than MAX_DEPTH."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth, inside, escaped = 0, False, False
    for byte in raw:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ApiError(
                    400, f"the body is nested deeper than {MAX_DEPTH} levels", code="invalid_json"
                )
        elif byte in b"]}":
            depth -= 1
