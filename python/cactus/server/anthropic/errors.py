"""Errors as Anthropic's clients expect them."""

from __future__ import annotations

from secrets import token_hex
from typing import Literal

from cactus.server.current import CURRENT
from cactus.server.endpoint import Reply, sse
from cactus.server.errors import ApiError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

TOO_LONG = "prompt is too long"
"""The words by which clients know that a conversation is to be shortened."""


class ErrorDetail(Reply, kw_only=True):
    """What is wrong."""

    type: str
    message: str


class ErrorReply(Reply, kw_only=True):
    """The body of an error."""

    type: Literal["error"] = "error"
    error: ErrorDetail
    request_id: str


class Anthropic:
    """Anthropic's shape of errors."""

    name = "anthropic"
    error_type: type[Reply] = ErrorReply

    def error(self, error: ApiError) -> Reply:
        """The body of an error."""
        kind = "api_error" if error.status >= 500 else "invalid_request_error"
        message = error.message
        if error.code == "context_length_exceeded":
            message = f"{TOO_LONG}: {message}"
        detail = ErrorDetail(type=_TYPES.get(error.status, kind), message=message)
        current = CURRENT.get()
        request_id = f"req_{token_hex(12)}" if current is None else current.id
        return ErrorReply(error=detail, request_id=request_id)

    def event_error(self, error: ApiError) -> bytes:
        """An error in the middle of a stream, which ends with it."""
        return sse(self.error(error), "error")


DIALECT = Anthropic()

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
"""What a stream says while nothing happens."""
