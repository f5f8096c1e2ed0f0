"""``/health``, ``/live``, ``/ready`` and ``/metrics``: for whoever looks after the server."""

from __future__ import annotations

from typing import Literal

from starlette.responses import Response

from cactus.server.endpoint import Ask, Endpoint, Reply
from cactus.server.openai.errors import DIALECT
from cactus.server.service import ending

METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Health(Reply, kw_only=True):
    """The server is there."""

    status: Literal["ok"] = "ok"


async def health(_: Ask[None]) -> Health:
    """Whether the process answers; a server that ends answers, too."""
    return Health()


async def ready(ask: Ask[None]) -> Health:
    """Whether it takes requests: not any more once it was asked to end."""
    if ask.service.draining:
        raise ending()
    return Health()


async def metrics(ask: Ask[None]) -> Response:
    """All counts, for Prometheus."""
    return Response(ask.service.meter.text(), headers={"content-type": METRICS})


ENDPOINTS = [
    Endpoint("GET", "/health", health, DIALECT, "Is it there?", reply=Health, open=True),
    Endpoint("GET", "/live", health, DIALECT, "Is it there?", reply=Health, open=True),
    Endpoint(
        "GET",
        "/ready",
        ready,
        DIALECT,
        "Does it take requests?",
        reply=Health,
        errors=(503,),
        open=True,
    ),
    Endpoint(
        "GET", "/metrics", metrics, DIALECT, "Counts, for Prometheus.", media=METRICS, counts=True
    ),
]
