"""The process of the server: it listens, and ends cleanly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cactus.server.app import build
from cactus.server.service import Service
from cactus.server.settings import Settings


def run(settings: Settings, options: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM."""
    import uvicorn

    service = Service(settings, options)
    config = uvicorn.Config(
        build(service),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        server_header=False,
        date_header=False,
    )
    uvicorn.Server(config).run()
