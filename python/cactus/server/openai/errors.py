"""Errors as OpenAI's clients expect them."""

from __future__ import annotations

from cactus.server.endpoint import Reply, sse
from cactus.server.errors import ApiError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          429: "rate_limit_error"}  # fmt: skip


class ErrorDetail(Reply, kw_only=True):
    """What is wrong: `param` is the field, `code` a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Reply, kw_only=True):
    """The body of an error."""

    error: ErrorDetail


class OpenAI:
    """OpenAI's shape of errors."""

    name = "openai"
    error_type: type[Reply] = ErrorReply

    def error(self, error: ApiError) -> Reply:
        """The body of an error."""
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(error.status, kind)
        return ErrorReply(
            error=ErrorDetail(message=error.message, type=kind, param=error.param, code=error.code)
        )

    def event_error(self, error: ApiError) -> bytes:
        """An error in the middle of a stream, which ends with it."""
        return sse(self.error(error))


DIALECT = OpenAI()
