"""From a request to its answer: the body is read, the handler works, the client may go away.

What all dialects have in common is here: limits of a body, errors, streams with pings, and that
nothing goes on for a client that has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cactus.server.body import read_body, read_form
from cactus.server.endpoint import Ask, Endpoint, Socket, Stream, encode
from cactus.server.errors import CLIENT_GONE, ApiError, api_error
from cactus.server.service import Service

log = logging.getLogger(__name__)

PING = {"sse": b": ping\n\n", "ndjson": b""}
MEDIA = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}


class Gone(Exception):
    """The client has left."""


async def answer(
    endpoint: Endpoint, service: Service, scope: Scope, receive: Receive, send: Send
) -> int:
    """Answer one request; the status that was sent, or 499 where the client has left."""
    request = Request(scope, receive)
    try:
        ask = await _read(endpoint, service, request)
        result = await _unless_gone(endpoint.handle(ask), receive)
        if isinstance(result, Stream):
            return await _send_stream(endpoint, service, result, receive, send, scope)
        response = result if isinstance(result, Response) else _json(200, result)
    except Gone:
        return CLIENT_GONE
    except Exception as error:
        response = error_response(endpoint, error)
    await response(scope, receive, send)
    return response.status_code


def error_response(endpoint: Endpoint | Socket, error: Exception) -> Response:
    """An error in the dialect's own shape."""
    told = told_error(error)
    response = _json(told.status, endpoint.dialect.error(told))
    if told.retry_after is not None:
        response.headers["retry-after"] = str(told.retry_after)
    return response


def told_error(error: Exception) -> ApiError:
    """What a client is told; what nobody has foreseen goes to the log, without its text."""
    told = api_error(error)
    if told.status >= 500 and told.code == "server_error":
        # The frames say where; the message might have what a user has written.
        log.error("a request failed: %s", type(error).__name__, exc_info=_frames(error))
    return told


def _frames(error: Exception) -> Any:
    return (type(error), type(error)(), error.__traceback__) if not error.args else None


def _json(status: int, value: Any) -> Response:
    return Response(encode(value), status, media_type="application/json")


async def _read(endpoint: Endpoint, service: Service, request: Request) -> Ask[Any]:
    tenant = request.scope.get("cactus.tenant")
    if endpoint.form:
        form, body = await read_form(request, endpoint.body, service.settings.max_upload)
        return Ask(request, service, body, tenant, form)
    body = None
    if endpoint.body is not None:
        raw = await read_body(request, service.settings.max_body)
        body = decode(raw, endpoint.body)
    return Ask(request, service, body, tenant)


def decode(raw: bytes, kind: Any) -> Any:
    """A body as its type. Raises ApiError naming the field."""
    from cactus.server.body import check_depth

    check_depth(raw)
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, param = split_path(str(error))
        raise ApiError(400, message, code="invalid_type", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None


def split_path(text: str) -> tuple[str, str | None]:
    """msgspec's message and, apart from it, the path of the field."""
    message, mark, path = text.rpartition(" - at `")
    if not mark:
        return text, None
    param = path.rstrip("`").removeprefix("$").lstrip(".")
    param = param.removeprefix("[...]") or param
    return f"{param or 'the body'}: {message}", param or None


async def _unless_gone(work: Any, receive: Receive) -> Any:
    """What `work` comes to; it is cancelled, and Gone raised, when the client leaves."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        for each in (task, watch):
            if not each.done():
                each.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await each


async def _until_gone(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


async def _send_stream(
    endpoint: Endpoint, service: Service, stream: Stream, receive: Receive, send: Send, scope: Scope
) -> int:
    events = stream.events
    watch = asyncio.ensure_future(_until_gone(receive))
    ping = PING[stream.form]
    following: asyncio.Future[bytes] | None = None
    begun = False
    try:
        while True:
            following = asyncio.ensure_future(_next(events))
            while not following.done():
                done, _ = await asyncio.wait(
                    {following, watch},
                    return_when=asyncio.FIRST_COMPLETED,
                    timeout=service.settings.ping_seconds if begun and ping else None,
                )
                if watch in done:
                    return CLIENT_GONE
                if not done:
                    await send({"type": "http.response.body", "body": ping, "more_body": True})
            try:
                data = following.result()
            except StopAsyncIteration:
                break
            except Exception as error:
                if not begun:
                    response = error_response(endpoint, error)
                    await response(scope, receive, send)
                    return response.status_code
                data = endpoint.dialect.event_error(told_error(error))
                await send({"type": "http.response.body", "body": data, "more_body": True})
                break
            if not begun:
                begun = True
                await send(_start(stream))
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if not begun:
            await send(_start(stream))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return 200
    finally:
        for each in (following, watch):
            if each is not None and not each.done():
                each.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await each
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await events.__anext__()


def _start(stream: Stream) -> dict[str, Any]:
    headers = {
        "content-type": MEDIA[stream.form],
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        **stream.headers,
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}
