"""From a request to its answer: the body is read, the handler works, the client may go away.

What all dialects have in common is here: limits of a body, errors, streams with pings, and that
nothing goes on for a client that has left, or for longer than it may.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cactus.server.body import Incoming, read_body, read_form
from cactus.server.current import BYTES_A_TOKEN, CURRENT, Current
from cactus.server.endpoint import Ask, Endpoint, Stream, encode
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
    limit = service.settings.timeout_seconds
    current = Current(
        id=scope.get("cactus.request_id", ""),
        tenant=scope.get("cactus.tenant"),
        deadline=None if limit is None else time.monotonic() + limit,
    )
    mark = CURRENT.set(current)
    try:
        with service.answering(current), service.acting_for(current.tenant):
            status = await _answer(endpoint, service, current, scope, receive, send)
    finally:
        CURRENT.reset(mark)
    scope["cactus.status"] = status
    return status


async def _answer(
    endpoint: Endpoint,
    service: Service,
    current: Current,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> int:
    incoming = Incoming(receive, service.settings, lambda: service.crowded)
    request = Request(scope, incoming)
    ask: Ask[Any] | None = None
    try:
        ask = await _read(endpoint, service, request, current)
        result = await _unless_gone(endpoint.handle(ask), receive, current)
        if isinstance(result, Stream):
            return await _send_stream(endpoint, service, result, current, scope, receive, send)
        response = result if isinstance(result, Response) else _json(200, result)
    except (Gone, ClientDisconnect):
        return CLIENT_GONE
    except Exception as error:
        response = error_response(endpoint.dialect, error)
        if (endpoint.form or endpoint.body is not None) and not incoming.complete:
            response.headers["connection"] = "close"  # the rest of the body is thrown away
    finally:
        if ask is not None and ask.form is not None:
            await ask.form.close()
    await response(scope, receive, send)
    return response.status_code


def error_response(dialect: Any, error: Exception) -> Response:
    """An error in the dialect's own shape."""
    told = told_error(error)
    response = _json(told.status, dialect.error(told))
    if told.retry_after is not None:
        response.headers["retry-after"] = str(told.retry_after)
    if told.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def told_error(error: Exception) -> ApiError:
    """What a client is told; what nobody has foreseen goes to the log, without its text."""
    told = api_error(error)
    if told.status == 500:
        log_failure(error)
    return told


def log_failure(error: Exception) -> None:
    """Where something failed; not its message, which might have what a user has written."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{each.filename}:{each.lineno} {each.name}" for each in reversed(frames))
    log.error("a request failed: %s at %s", type(error).__name__, places or "an unknown place")


def _json(status: int, value: Any) -> Response:
    return Response(encode(value), status, media_type="application/json")


async def _read(
    endpoint: Endpoint, service: Service, request: Request, current: Current
) -> Ask[Any]:
    body = form = None
    if endpoint.form:
        form = await read_form(request, service.settings.max_upload)
    elif endpoint.body is not None:
        parts = await read_body(request, service.settings.max_body)
        current.tokens = sum(map(len, parts)) // BYTES_A_TOKEN
        body = await service.decoder.decode(parts, endpoint.body)
    admin = bool(request.scope.get("cactus.admin"))
    return Ask(request, service, body, current.tenant, admin, form)


async def _unless_gone(work: Any, receive: Receive, current: Current) -> Any:
    """What `work` comes to; it is cancelled where the client leaves or time is over.

    Raises Gone, and the ApiError that the request was ended with.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_until_gone(receive))
    try:
        return await _first(task, watch, current)
    finally:
        await _end(task, watch)


async def _first(task: asyncio.Future[Any], watch: asyncio.Future[None], current: Current) -> Any:
    await asyncio.wait(
        {task, watch, current.ended},
        timeout=current.left,
        return_when=asyncio.FIRST_COMPLETED,
    )
    if task.done():
        return task.result()
    if watch.done():
        raise Gone
    if current.ended.done():
        raise current.ended.result()
    seconds = time.monotonic() - current.arrived
    raise ApiError(
        504, f"the request has not come to its end within {seconds:.0f} seconds", code="timeout"
    )


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still works, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten


async def _until_gone(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


class _Outgoing:
    """A stream's way out. Nothing is sent before there is something to send."""

    def __init__(self, stream: Stream, send: Send) -> None:
        self._stream, self._send = stream, send
        self.begun = False
        self.last = time.monotonic()

    async def write(self, data: bytes, last: bool = False) -> None:
        if not self.begun:
            self.begun = True
            await self._send(_start(self._stream))
        self.last = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        # Where the client has left, nothing above waits, and whoever would notice it has no turn.
        await asyncio.sleep(0)


async def _send_stream(
    endpoint: Endpoint,
    service: Service,
    stream: Stream,
    current: Current,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> int:
    out = _Outgoing(stream, send)
    pump = asyncio.ensure_future(_pump(stream.events, out))
    watch = asyncio.ensure_future(_until_gone(receive))
    pings = asyncio.ensure_future(
        _ping(out, stream.ping or PING[stream.form], service.settings.ping_seconds)
    )
    try:
        await _first(pump, watch, current)
        return 200
    except Gone:
        return CLIENT_GONE
    except Exception as error:
        await _end(pump, pings)
        if not out.begun:
            response = error_response(endpoint.dialect, error)
            await response(scope, receive, send)
            return response.status_code
        await out.write(endpoint.dialect.event_error(told_error(error)), last=True)
        return 200
    finally:
        await _end(pump, watch, pings)
        close = getattr(stream.events, "aclose", None)
        if close is not None:
            await close()


async def _pump(events: AsyncIterator[bytes], out: _Outgoing) -> None:
    async for data in events:
        await out.write(data)
    await out.write(b"", last=True)


async def _ping(out: _Outgoing, ping: bytes, seconds: float) -> None:
    """Write something when nothing else was for a while: a client that has vanished is noticed."""
    while ping:
        wait = out.last + seconds - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif out.begun:
            await out.write(ping)
        else:
            out.last = time.monotonic()


def _start(stream: Stream) -> dict[str, Any]:
    headers = {
        "content-type": MEDIA[stream.form],
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        **stream.headers,
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}
