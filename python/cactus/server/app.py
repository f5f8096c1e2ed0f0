"""The application: the table of endpoints behind what every request passes first."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from cactus.server import anthropic, ollama, openai, own
from cactus.server.endpoint import Endpoint, Socket
from cactus.server.guard.guard import Guard
from cactus.server.guard.keys import Keys
from cactus.server.own.page import page
from cactus.server.router import Router
from cactus.server.service import Service


def endpoints() -> list[Endpoint]:
    """All that the server answers."""
    return [*openai.endpoints(), *anthropic.endpoints(), *ollama.endpoints(), *own.endpoints()]


def sockets() -> list[Socket]:
    """All that speaks WebSocket."""
    return openai.sockets()


class App:
    """An ASGI application that begins and ends with its service."""

    def __init__(self, service: Service, guarded: ASGIApp) -> None:
        self._service, self._guarded = service, guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._guarded(scope, receive, send)
            return
        await receive()
        watching = await self._service.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watching.cancel()
        await self._service.close()
        await send({"type": "lifespan.shutdown.complete"})


def build(service: Service, token: str | None = None) -> ASGIApp:
    """The application of a service. `token` is a key that only this server's own user knows."""
    service.table = endpoints()
    router = Router(service.table, sockets(), service, page())
    keys = Keys(service.settings.keys, token, service.settings.admin_keys)
    return App(service, Guard(router, service, keys))
