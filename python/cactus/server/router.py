"""From a path and a method to what answers it; what nobody answers is an error, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from cactus.inputs.checks import short
from cactus.server.endpoint import Dialect, Endpoint, Socket
from cactus.server.errors import ApiError
from cactus.server.service import Service
from cactus.server.work import answer, error_response, told_error

VERSION = "/v1"


class Router:
    """The table as an ASGI application. `files` answers a GET of what is not in it, if it can.

    A path is found without its ``/v1``, too, with it twice, with slashes doubled or at its end: all
    these come of addresses that people give their clients.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        sockets: Iterable[Socket],
        service: Service,
        files: Mapping[str, ASGIApp] | None = None,
    ) -> None:
        self._service, self._files = service, files or {}
        self._table: list[tuple[re.Pattern[str], Any, dict[str, Endpoint]]] = []
        self._sockets = {socket.path: socket for socket in sockets}
        self._dialects: list[tuple[list[str], Dialect]] = []
        known: dict[str, dict[str, Endpoint]] = {}
        for each in endpoints:
            known.setdefault(each.path, {})[each.method] = each
            self._dialects.append((each.path.split("/"), each.dialect))
        for path, methods in known.items():
            pattern, _, convertors = compile_path(path)
            self._table.append((pattern, convertors, methods))

    def find(self, path: str) -> tuple[dict[str, Endpoint], dict[str, Any]]:
        """The endpoints of a path by their methods, and what stands in its variable parts."""
        for candidate in candidates(path):
            for pattern, convertors, methods in self._table:
                found = pattern.match(candidate)
                if found:
                    parts = found.groupdict().items()
                    try:
                        return methods, {name: convertors[name].convert(v) for name, v in parts}
                    except ValueError:
                        continue
        return {}, {}

    def find_socket(self, path: str) -> Socket | None:
        """What speaks WebSocket at a path."""
        found = (self._sockets.get(candidate) for candidate in candidates(path))
        return next((socket for socket in found if socket is not None), None)

    def is_file(self, path: str) -> bool:
        """Whether a file of the page is there."""
        return path in self._files

    def dialect(self, path: str) -> Dialect:
        """Whose path it is, or would be: that of the endpoint it has the longest beginning with."""
        for candidate in candidates(path):
            parts = candidate.split("/")
            best = max(self._dialects, key=lambda entry: _common(entry[0], parts))
            if _common(best[0], parts) > 1:
                return best[1]
        return self._dialects[0][1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        methods, parts = self.find(path)
        chosen = methods.get("GET" if method == "HEAD" else method)
        if chosen is not None:
            scope["path_params"] = parts
            scope["cactus.endpoint"] = chosen.path
            await answer(chosen, self._service, scope, receive, send)
            return
        file = self._files.get(path)
        if file is not None and method in ("GET", "HEAD"):
            scope["cactus.endpoint"] = "page"
            await file(scope, receive, send)
            return
        await self._refuse(methods, file is not None)(scope, receive, send)

    def _refuse(self, methods: Mapping[str, Endpoint], is_file: bool) -> ASGIApp:
        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            path, method = scope["path"], scope["method"]
            one = next(iter(methods.values()), None)
            dialect = self.dialect(path) if one is None else one.dialect
            allowed = allow(methods, is_file)
            if method == "OPTIONS" and (allowed or path == "*"):
                response = Response(status_code=204)
            elif allowed:
                message = f"{short(method)} is not allowed here; {allowed} are"
                error = ApiError(405, message, code="method_not_allowed")
                response = error_response(dialect, error)
            else:
                error = ApiError(404, f"there is no {short(path, 200)}", code="not_found")
                response = error_response(dialect, error)
            if allowed:
                response.headers["allow"] = allowed
            await response(scope, receive, send)

        return refuse

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = self.find_socket(scope["path"])
        websocket = WebSocket(scope, receive, send)
        if socket is None:
            error = ApiError(404, f"there is no {short(scope['path'], 200)}", code="not_found")
            await deny(websocket, self.dialect(scope["path"]), error)
            return
        scope["cactus.endpoint"] = socket.path
        try:
            tenant = scope.get("cactus.tenant")
            with self._service.socket(tenant) as current, self._service.acting_for(tenant):
                await socket.handle(websocket, self._service, current)
        except Exception as error:
            from starlette.websockets import WebSocketDisconnect, WebSocketState

            if isinstance(error, WebSocketDisconnect):
                return
            if websocket.application_state is WebSocketState.CONNECTING:
                await deny(websocket, socket.dialect, error)
                return
            told_error(error)
            if websocket.application_state is WebSocketState.CONNECTED:
                await websocket.close(1011)


async def deny(websocket: WebSocket, dialect: Dialect, error: Exception) -> None:
    """Answer a WebSocket that was not accepted with an error."""
    await websocket.receive()  # the connect
    await websocket.send_denial_response(error_response(dialect, error))


def _common(left: list[str], right: list[str]) -> int:
    """How many parts two paths begin with alike."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(left), len(right)))


def candidates(path: str) -> Iterable[str]:
    """What a path may mean, the likeliest first."""
    plain = "/" + "/".join(part for part in path.split("/") if part)
    yield plain
    if plain.startswith(f"{VERSION}{VERSION}/"):
        yield plain.removeprefix(VERSION)
    elif not plain.startswith(f"{VERSION}/"):
        yield VERSION + plain


def allow(methods: Iterable[str], is_file: bool = False) -> str:
    """The header that lists what a path answers; empty where there is nothing."""
    names = set(methods) | ({"GET"} if is_file else set())
    if "GET" in names:
        names.add("HEAD")
    return ", ".join(sorted(names | {"OPTIONS"})) if names else ""
