"""What every request passes first: who calls, from where, with how much; and what is noted of it.

It is pure ASGI: a wrapper that reads ahead would hide that a client has gone away.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from secrets import token_hex
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from cactus.inputs.checks import short
from cactus.server.errors import CLIENT_GONE, ApiError
from cactus.server.guard.keys import Keys, given_keys, is_key_protocol
from cactus.server.guard.origins import Hosts, Origins, is_loopback
from cactus.server.router import Router, deny
from cactus.server.service import Service
from cactus.server.work import error_response, log_failure

log = logging.getLogger("cactus.server.access")

MAX_HEADERS = 200
_ID = re.compile(r"[\w.:\-]{1,128}", re.ASCII)
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~\-, ]{1,2000}", re.ASCII)

SAFE_HEADERS = ((b"x-content-type-options", b"nosniff"),)


class Guard:
    """An ASGI application around the router."""

    def __init__(self, router: Router, service: Service, keys: Keys) -> None:
        settings = service.settings
        self._router, self._service, self._keys = router, service, keys
        self._hosts = Hosts(settings.host, settings.allow_hosts)
        self._origins = Origins(settings.allow_origins)
        self._check_host = settings.uds is None  # no browser opens a Unix socket
        self._max_header = settings.max_header
        # Where there are no keys, whoever reaches the server looks after it, if it is theirs alone.
        self._own = not keys and (settings.uds is not None or is_loopback(settings.host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        _shorten(scope)
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        given = headers.get("x-request-id", "")
        scope["cactus.request_id"] = given if _ID.fullmatch(given) else f"req_{token_hex(12)}"
        origin = headers.get("origin")
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"].endswith("response.start"):
                status = message["status"]
                message = {
                    **message,
                    "headers": [*message["headers"], *self._headers(scope, origin)],
                }
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._pass(scope, headers, receive, sent)
        except Exception as error:
            log_failure(error)
            if scope["type"] == "http" and not status:
                response = error_response(self._router.dialect(scope["path"]), error)
                await response(scope, receive, sent)
            elif scope["type"] == "http":
                raise _Ended from None  # the connection is closed: the answer is not whole
        finally:
            status = scope.get("cactus.status", status)
            self._note(scope, status, time.monotonic() - began)

    async def _pass(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        try:
            response = self._check(scope, headers)
        except ApiError as error:
            dialect = self._router.dialect(scope["path"])
            if scope["type"] == "websocket":
                await deny(WebSocket(scope, receive, send), dialect, error)
                return
            response = error_response(dialect, error)
            if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
                response.headers["connection"] = "close"  # nobody reads the body
        if response is None:
            await self._router(scope, receive, send)
        else:
            await response(scope, receive, send)

    def _check(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        """The answer, where it is known already; ApiError for what is refused."""
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._max_header or len(scope["headers"]) > MAX_HEADERS:
            raise ApiError(
                431,
                f"the headers have {size} bytes in {len(scope['headers'])} fields; there may be "
                f"{self._max_header} in {MAX_HEADERS}",
                code="headers_too_large",
            )
        if _has_two_ends(scope):
            raise ApiError(
                400,
                "Content-Length and Transfer-Encoding both say where the body ends",
                code="invalid_request",
            )
        host, origin = headers.get("host"), headers.get("origin")
        if self._check_host and not self._hosts.allows(host):
            raise ApiError(
                403,
                f"this server is not called {short(host)}; if it is: --allow-host NAME",
                code="host_not_allowed",
            )
        if origin is not None and not self._origins.allows(origin, host):
            raise ApiError(
                403,
                f"pages of {short(origin)} may not call this server; to allow it: "
                "--allow-origin ORIGIN",
                code="origin_not_allowed",
            )
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            wanted = headers.get("access-control-request-method")
            return _preflight(headers) if origin is not None and wanted else None
        self._let_in(scope, headers)
        return None

    def _let_in(self, scope: Scope, headers: dict[str, str]) -> None:
        """Find the tenant; ApiError where a key is needed and not given, or admin is off."""
        path, protocols = scope["path"], scope.get("subprotocols", [])
        tenant = self._keys.tenant(given_keys(headers, protocols))
        if tenant is None and scope["type"] == "websocket":
            found = self._service.short_keys.find(given_keys(headers, protocols))
            if found is not None:
                tenant, scope["cactus.session"] = found.tenant, found.session
        scope["cactus.tenant"] = tenant
        if any(map(is_key_protocol, protocols)):
            plain = [each for each in protocols if not is_key_protocol(each)]
            scope["subprotocols"] = plain or protocols
        methods, _ = self._router.find(path) if scope["type"] == "http" else ({}, None)
        method = "GET" if scope.get("method") == "HEAD" else scope.get("method", "")
        endpoint = methods.get(method)
        free = endpoint is not None and endpoint.open
        free = free or (scope["type"] == "http" and not methods and self._router.is_file(path))
        if self._keys and tenant is None and not free:
            shown = any(True for _ in given_keys(headers, protocols))
            message = "this key is not known" if shown else "a key is needed"
            raise ApiError(
                401,
                f"{message}; it is sent as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'",
                code="invalid_api_key",
            )
        scope["cactus.admin"] = admin = self._own or self._keys.is_admin(tenant)
        if endpoint is None or admin:
            return
        if endpoint.admin or (endpoint.counts and self._keys):
            raise ApiError(
                403,
                "this needs the key of whoever looks after the server: one of --admin-key-file",
                code="admin_not_allowed",
            )

    def _headers(self, scope: Scope, origin: str | None) -> Iterable[tuple[bytes, bytes]]:
        """What each answer has besides."""
        for name in (b"x-request-id", b"request-id"):  # OpenAI's, Anthropic's
            yield name, scope["cactus.request_id"].encode()
        yield b"vary", b"Origin"
        yield from SAFE_HEADERS
        if _has_two_ends(scope):
            yield b"connection", b"close"
        host = next((v.decode("latin-1") for n, v in scope["headers"] if n == b"host"), None)
        if origin is not None and self._origins.allows(origin, host):
            yield b"access-control-allow-origin", origin.encode("latin-1")
            yield b"access-control-expose-headers", b"x-request-id, request-id, retry-after"

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count it, and log it: neither what was asked nor with which key."""
        endpoint = scope.get("cactus.endpoint", "-")
        self._service.meter.answered(endpoint, status, seconds)
        log.info(
            "%s %s %s %.0f ms %s %s",
            scope.get("method", "WebSocket") if endpoint != "-" else "?",
            endpoint,
            "left" if status == CLIENT_GONE else status,
            1000 * seconds,
            scope.get("cactus.tenant") or "-",
            scope["cactus.request_id"],
        )


def _shorten(scope: Scope) -> None:
    """Make a path of a whole address, which a client sends that takes this server for a proxy.

    The name in it counts then, and not that in Host (RFC 9112, 3.2.2).
    """
    scheme, _, rest = scope["path"].partition("://")
    if scheme.lower() in ("http", "https"):
        name, slash, path = rest.partition("/")
        scope["path"] = slash + path or "/"
        others = [(key, value) for key, value in scope["headers"] if key != b"host"]
        scope["headers"] = [*others, (b"host", name.encode("latin-1", "replace"))]


def _has_two_ends(scope: Scope) -> bool:
    """Whether a proxy before this server may see another end of the body, and another request."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


class _Ended(Exception):
    """An answer that had begun cannot go on."""


def _preflight(headers: dict[str, Any]) -> Response:
    """What a browser asks before it sends a request of an allowed page."""
    wanted = headers.get("access-control-request-headers", "")
    allowed = {
        "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
        "access-control-allow-headers": wanted if _TOKEN.fullmatch(wanted) else "authorization",
        "access-control-max-age": "600",
    }
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=allowed)
