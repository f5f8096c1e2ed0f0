"""The process of the server: it listens, and ends cleanly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cactus.server.app import build
from cactus.server.service import Service
from cactus.server.settings import Settings

if TYPE_CHECKING:
    import uvicorn


def run(settings: Settings, options: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM."""
    server_of(Service(settings, options)).run()


def server_of(service: Service) -> uvicorn.Server:
    """What listens for a service, and has not begun."""
    import uvicorn

    config = uvicorn.Config(
        build(service),
        host=service.settings.host,
        port=service.settings.port,
        ws="websockets-sansio",
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
    )
    return uvicorn.Server(config)
