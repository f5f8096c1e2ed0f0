"""What changes the server itself: ``/cactus/unload`` and ``/cactus/stop``."""

from __future__ import annotations

import logging

from cactus.server.endpoint import Ask, Body, Endpoint, Reply
from cactus.server.openai.errors import DIALECT

log = logging.getLogger(__name__)


class UnloadRequest(Body, kw_only=True):
    """Which model."""

    model: str


class UnloadReply(Reply, kw_only=True):
    """`unloaded` is false where requests use it still: it goes when they have ended."""

    model: str
    unloaded: bool


class StopRequest(Body, kw_only=True):
    """Nothing to say."""


class StopReply(Reply, kw_only=True):
    """It ends when the requests on their way have, or after so many seconds."""

    stopping: bool
    within_seconds: float


async def unload(ask: Ask[UnloadRequest]) -> UnloadReply:
    """Free a model's memory."""
    served = ask.service.known(ask.body.model)
    return UnloadReply(model=served.name, unloaded=await ask.service.models.unload(served))


async def stop(ask: Ask[StopRequest]) -> StopReply:
    """End the server."""
    log.warning("asked to end by request %s", ask.request.scope["cactus.request_id"])
    ask.service.stopping.set()
    return StopReply(stopping=True, within_seconds=ask.service.settings.drain_seconds)


ENDPOINTS = [
    Endpoint(
        "POST",
        "/cactus/unload",
        unload,
        DIALECT,
        "Free the memory of a model.",
        body=UnloadRequest,
        reply=UnloadReply,
        errors=(403, 404),
        admin=True,
    ),
    Endpoint(
        "POST",
        "/cactus/stop",
        stop,
        DIALECT,
        "End the server, as SIGTERM does.",
        body=StopRequest,
        reply=StopReply,
        errors=(403,),
        admin=True,
    ),
]
