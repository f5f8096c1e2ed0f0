"""The application: the table of endpoints behind what every request passes first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cactus.server import anthropic, ollama, openai, own
from cactus.server.endpoint import Endpoint
from cactus.server.service import Service
from cactus.server.work import answer


def endpoints() -> list[Endpoint]:
    """All that the server answers."""
    return [*openai.endpoints(), *anthropic.endpoints(), *ollama.endpoints(), *own.endpoints()]


class _Route:
    """An ASGI application for one endpoint; a class, so that Starlette hands it the raw request."""

    def __init__(self, endpoint: Endpoint, service: Service) -> None:
        self._endpoint, self._service = endpoint, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(self._endpoint, self._service, scope, receive, send)


def build(service: Service) -> ASGIApp:
    """The application of a service."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.close()

    routes = [
        Route(each.path, _Route(each, service), methods=[each.method]) for each in endpoints()
    ]
    return Starlette(routes=routes, lifespan=lifespan)
