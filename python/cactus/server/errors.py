"""What goes wrong with a request, before a dialect gives it its own shape."""

from __future__ import annotations

from http import HTTPStatus

from cactus import errors

CLIENT_GONE = 499
"""The status that is counted where nobody is there to get it."""


class ApiError(Exception):
    """A request that is answered with an error.

    `status` is HTTP's, `code` a word that programs can compare, `param` the field that is wrong,
    such as ``messages[0].role``. `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after = retry_after


_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.ContextLengthExceeded, HTTPStatus.BAD_REQUEST, "context_length_exceeded"),
    (errors.UnsupportedAudio, HTTPStatus.BAD_REQUEST, "unsupported_media"),
    (errors.InvalidAudio, HTTPStatus.BAD_REQUEST, "invalid_audio"),
    (errors.InvalidImage, HTTPStatus.BAD_REQUEST, "invalid_image"),
    (errors.InvalidRequest, HTTPStatus.BAD_REQUEST, "invalid_value"),
    (errors.ModelNotFound, HTTPStatus.NOT_FOUND, "model_not_found"),
    (errors.UnsupportedModel, HTTPStatus.BAD_REQUEST, "unsupported_model"),
    (errors.InsufficientMemory, HTTPStatus.SERVICE_UNAVAILABLE, "insufficient_memory"),
    (errors.Overloaded, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
    (errors.ModelClosed, HTTPStatus.SERVICE_UNAVAILABLE, "model_closed"),
    (errors.Cancelled, HTTPStatus.SERVICE_UNAVAILABLE, "cancelled"),
    (errors.TemplateError, HTTPStatus.BAD_REQUEST, "template_error"),
    (errors.CactusError, HTTPStatus.INTERNAL_SERVER_ERROR, "server_error"),
)


def api_error(error: Exception) -> ApiError:
    """The error of a request for what a call of a model has raised."""
    if isinstance(error, ApiError):
        return error
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            wait = 5 if status == HTTPStatus.SERVICE_UNAVAILABLE else None
            return ApiError(status, str(error), code=code, retry_after=wait)
    # What nobody has foreseen may have anything in its text, a prompt too.
    return ApiError(500, f"the server failed: {type(error).__name__}", code="server_error")
