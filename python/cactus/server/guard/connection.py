"""Connections: how many there are, and how long each may keep others waiting.

What a client can do before the application sees a request is bounded here: how long its headers
take and are, how long the rest of a body that nobody wants is read, how long an answer lies unread.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cactus.server.endpoint import Dialect, encode
from cactus.server.errors import ApiError
from cactus.server.settings import Settings

LINGER = 5.0
"""Seconds in which the rest of a refused body is thrown away, so that its sender reads the answer.
"""
REST = 0.002
"""Seconds between two pieces of it, 256 KB at most: as fast as it comes others would notice."""
PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""When a peer that has vanished is noticed where nothing is sent to it."""


class _Patience:
    """Timers of one connection, each by the name of what is waited for."""

    def __init__(self) -> None:
        self._waits: dict[str, asyncio.TimerHandle] = {}

    def begin(self, what: str, seconds: float, end: Any) -> None:
        """Call `end` after some seconds, unless `what` is over before, or begun already."""
        if what not in self._waits:
            self._waits[what] = asyncio.get_running_loop().call_later(seconds, end)

    def over(self, *names: str) -> None:
        """Stop the timers of these names, or of all."""
        for name in names or list(self._waits):
            timer = self._waits.pop(name, None)
            if timer is not None:
                timer.cancel()


class _Lingering:
    """A transport that is not closed while its peer still sends what nobody reads.

    It would reset the connection, and the peer might not read the answer.
    """

    def __init__(self, transport: Any, sends: Callable[[], bool]) -> None:
        self._transport, self._sends = transport, sends
        self.throws_away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Close it, now or soon."""
        if not self._sends() or self.throws_away or self._transport.is_closing():
            self._transport.close()
            return
        self.throws_away = True
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER, self._transport.close)

    def throw_away(self) -> None:
        """A piece has come; the next one is not read at once."""
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(REST, self._transport.resume_reading)

    def is_closing(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.throws_away or bool(self._transport.is_closing())


def http_protocol(limits: Settings, dialect: Dialect) -> type[H11Protocol]:
    """uvicorn's protocol within limits. `dialect` is of errors where no path is known yet."""
    return type("Connection", (_Connection,), {"limits": limits, "dialect": dialect})


def socket_protocol(limits: Settings) -> type[WebSocketsSansIOProtocol]:
    """uvicorn's protocol for WebSockets, with the limit on answers that are not read."""
    return type("SocketConnection", (_SocketConnection,), {"limits": limits})


class _ReadInTime(asyncio.Protocol):
    """A connection that ends where its peer does not read for long what is sent to it."""

    limits: Settings
    transport: Any

    def connection_made(self, transport: Any) -> None:
        self._patience = _Patience()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.over()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.begin("reader", self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.over("reader")


class _SocketConnection(_ReadInTime, WebSocketsSansIOProtocol):
    """A WebSocket."""


class _Connection(_ReadInTime, H11Protocol):
    """A connection for HTTP."""

    dialect: Dialect

    def connection_made(self, transport: Any) -> None:
        self._lingering = _Lingering(transport, self._sends)
        super().connection_made(self._lingering)
        _probe(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "there are too many connections", "overloaded")
            return
        self._patience.begin("headers", self.limits.header_seconds, self._headers_late)

    def _should_upgrade(self) -> bool:
        # What else than a GET asks for it, the other protocol would never answer.
        return super()._should_upgrade() and self.scope["method"] == "GET"

    def _sends(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def data_received(self, data: bytes) -> None:
        if self._lingering.throws_away:
            self._lingering.throw_away()
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Start and stop the timers by what the connection waits for now."""
        if self.transport.is_closing():
            self._patience.over()
        elif self.conn.their_state is h11.IDLE:
            self._patience.over("rest")
            if self.conn.trailing_data[0]:
                self._patience.begin("headers", self.limits.header_seconds, self._headers_late)
        elif self.cycle is not None and self.cycle.response_complete:
            self._patience.over("headers")
            if self.conn.their_state is h11.SEND_BODY:
                self._patience.begin("rest", LINGER, self.transport.abort)
        else:
            self._patience.over("headers", "rest")

    def _headers_late(self) -> None:
        seconds = self.limits.header_seconds
        self._refuse(408, f"the headers took more than {seconds:g} seconds", "request_timeout")

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if status == 431:
            text, code = f"the headers have more than {self.limits.max_header} bytes", "too_large"
        else:
            text, code = "this is not a valid HTTP request", "invalid_request"
        self._refuse(status, text, code)

    def _refuse(self, status: int, text: str, code: str) -> None:
        """Answer without the application, and close."""
        self._patience.over()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # an answer has begun
            return
        body = encode(self.dialect.error(ApiError(status, text, code=code)))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if status == 503:
            headers.append((b"retry-after", b"5"))
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _probe(transport: Any) -> None:
    """Have the system ask a silent peer whether it is still there."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PROBES.items():
        if hasattr(socket, name):  # not every system has all
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
