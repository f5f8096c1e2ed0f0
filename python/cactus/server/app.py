"""The application: the table of endpoints behind what every request passes first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from cactus.server import anthropic, ollama, openai, own
from cactus.server.endpoint import Endpoint, Socket
from cactus.server.errors import ApiError
from cactus.server.service import Service
from cactus.server.work import answer, error_response


def endpoints() -> list[Endpoint]:
    """All that the server answers."""
    return [*openai.endpoints(), *anthropic.endpoints(), *ollama.endpoints(), *own.endpoints()]


def sockets() -> list[Socket]:
    """All that speaks WebSocket."""
    return openai.sockets()


class _Route:
    """An ASGI application for one endpoint; a class, so that Starlette hands it the raw request."""

    def __init__(self, endpoint: Endpoint, service: Service) -> None:
        self._endpoint, self._service = endpoint, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(self._endpoint, self._service, scope, receive, send)


class _SocketRoute:
    """An ASGI application for one path that speaks WebSocket."""

    def __init__(self, socket: Socket, service: Service) -> None:
        self._socket, self._service = socket, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        try:
            await self._socket.handle(websocket, self._service)
        except ApiError as error:
            await websocket.receive()  # the connect
            await websocket.send_denial_response(error_response(self._socket, error))


def build(service: Service) -> ASGIApp:
    """The application of a service."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.close()

    routes: list[BaseRoute] = [
        Route(each.path, _Route(each, service), methods=[each.method]) for each in endpoints()
    ]
    routes += [WebSocketRoute(each.path, _SocketRoute(each, service)) for each in sockets()]
    return Starlette(routes=routes, lifespan=lifespan)
