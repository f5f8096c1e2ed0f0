"""Bodies of requests, within limits that hold before anything is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive

from cactus.inputs.checks import short
from cactus.inputs.text import cut, one_line
from cactus.server.errors import ApiError
from cactus.server.places import exact
from cactus.server.settings import Settings

MAX_DEPTH = 64
"""Brackets in brackets at most, in a body of JSON."""
SLOWEST = 10_000
"""Bytes a second that a body comes with at least, once its time to begin is over."""
MOST_VALUES = 300_000
"""Values in a body of JSON at most: more of them are not the most tokens that OpenAI embeds."""
BYTE_ORDER = b"\xef\xbb\xbf"
"""A mark that may stand before UTF-8."""
AT_ONCE, PACE = 1 << 20, 64 << 20
"""Bytes of a body that are read as they come, and how many of the rest in a second, while others
are answered: to copy more would keep them waiting."""
MAX_FIELDS = 100
MAX_FIELD = 1 << 20
MAX_FILES = 8

# What `curl -d` says of any body; the body is read as what it is.
_JSON = ("application/json", "text/json", "application/x-www-form-urlencoded")
_FORM = "multipart/form-data"


class Incoming:
    """The ``receive`` of one request, whose body has to come at some speed.

    `crowded` says whether others are answered meanwhile.
    """

    def __init__(self, receive: Receive, settings: Settings, crowded: Callable[[], bool]) -> None:
        self._receive, self._patience = receive, settings.body_seconds
        self._crowded = crowded
        self._began, self._size = time.monotonic(), 0
        self.complete = False
        """Whether the body has been read to its end."""

    async def __call__(self) -> Message:
        if self.complete:
            return await self._receive()
        until = self._began + self._patience + self._size / SLOWEST
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            raise ApiError(
                408,
                f"the body came too slowly: {self._size} bytes in "
                f"{time.monotonic() - self._began:.0f} seconds",
                code="request_timeout",
            ) from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._size += size
            self.complete = not message.get("more_body", False)
            if self._size > AT_ONCE and not self.complete and self._crowded():
                await asyncio.sleep(size / PACE)
        return message


async def read_body(request: Request, limit: int) -> list[bytes]:
    """The parts of a body of `limit` bytes at most. Raises ApiError 408, 413 and 415."""
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind and kind not in _JSON and not kind.endswith("+json"):
        raise _unsupported(f"the body must be application/json, got {short(kind)}")
    charset = rest.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise _unsupported(f"the body must be UTF-8, got {short(charset)}")
    return [part async for part in _parts(request, limit)]


async def _parts(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes; nothing is taken of one that says it is too large."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise _unsupported(f"the body must not be compressed, got {short(coding)}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        yield part


def decode(raw: bytes, kind: Any) -> Any:
    """A body as its type. Raises ApiError naming the field."""
    raw = raw.removeprefix(BYTE_ORDER)
    if not raw.strip():
        raise _not_json("it is empty")
    check_form(raw)
    try:
        json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_constant)
        value = msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, param = split_path(_placed(str(error), raw, kind))
        message = message if param else f"the body: {message}"
        raise ApiError(400, message, code="invalid_type", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _not_json(str(error)) from None
    return value


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ApiError(
                400,
                f"{short(name)} is there twice in an object",
                code="invalid_json",
                param=cut(name),
            )
        seen.add(name)


def check_form(raw: bytes) -> None:
    """Raises ApiError where brackets lie deeper in each other than MAX_DEPTH, or for too many
    values.

    All is done by methods of bytes: a loop over a body of megabytes takes seconds.
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH and raw.count(b",") < MOST_VALUES:
        return
    # Without escapes every quote begins or ends a string, and each second part is between two.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    many = plain.count(b'"') > 4 * MOST_VALUES  # those of a name and of a text
    outside = b"" if many else b"".join(plain.split(b'"')[::2])
    if many or outside.count(b",") >= MOST_VALUES:
        raise ApiError(413, f"the body has more than {MOST_VALUES:,} values", code="body_too_large")
    left = outside.translate(_ONE_KIND, _NOT_BRACKETS)
    deep = b"[" * (MAX_DEPTH + 1) in left
    for _ in range(0 if deep else MAX_DEPTH):
        shorter = left.replace(b"[]", b"")  # without the innermost ones
        if len(shorter) == len(left):
            break
        left = shorter
    if left:
        raise _not_json(
            f"it is nested deeper than {MAX_DEPTH} levels, or its brackets do not match"
        )


_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _placed(text: str, raw: bytes, kind: Any) -> str:
    """The message of msgspec with the numbers of places in lists, where they can be found."""
    message, mark, path = text.rpartition(" - at `")
    if "[...]" not in path:
        return text
    return f"{message}{mark}{exact(msgspec.json.decode(raw), kind, path.rstrip(chr(96)))}`"


def split_path(text: str) -> tuple[str, str | None]:
    """msgspec's message, with the path of the field in front where there is one, and that path."""
    message, mark, path = text.rpartition(" - at `")
    if not mark:
        return one_line(text), None
    message = one_line(message)  # it has the value where that is none of several
    param = path.rstrip("`").removeprefix("$").lstrip(".")
    param = param.removeprefix("[...]") or param
    return f"{param or 'the body'}: {message}", param or None


async def read_form(request: Request, limit: int) -> FormData:
    """The form, whose files lie on the disk; whoever gets it closes it.

    Raises ApiError 400, 408, 413 and 415.
    """
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != _FORM:
        raise _unsupported(f"the body must be {_FORM}, got {short(given)}")
    parts = _parts(request, limit)
    try:
        return await MultiPartParser(
            request.headers,
            parts,  # type: ignore[arg-type]
            max_files=MAX_FILES,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_FIELD,
        ).parse()
    except (MultiPartException, UnicodeDecodeError) as error:
        text = getattr(error, "message", str(error))
        raise ApiError(400, f"the body is not a form: {text}", code="invalid_form") from None


def _not_json(reason: str) -> ApiError:
    return ApiError(400, f"the body is not JSON: {reason}", code="invalid_json")


def _unsupported(message: str) -> ApiError:
    return ApiError(415, message, code="unsupported_media")


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body has more than {limit} bytes", code="body_too_large")
