"""Errors as Ollama's clients expect them."""

from __future__ import annotations

from cactus.server.endpoint import Reply, ndjson
from cactus.server.errors import ApiError


class ErrorReply(Reply, kw_only=True):
    """The body of an error, and the line of one in a stream."""

    error: str


class Ollama:
    """Ollama's shape of errors."""

    name = "ollama"
    error_type: type[Reply] = ErrorReply

    def error(self, error: ApiError) -> Reply:
        """The body of an error."""
        return ErrorReply(error=error.message)

    def event_error(self, error: ApiError) -> bytes:
        """An error in the middle of a stream, which ends with it."""
        return ndjson(self.error(error))


DIALECT = Ollama()
