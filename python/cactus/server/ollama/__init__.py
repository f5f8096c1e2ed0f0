"""Ollama's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint


def endpoints() -> list[Endpoint]:
    """Ollama's endpoints, for the table of all."""
    from cactus.server.ollama import embed, generate, models, pull

    return [*generate.ENDPOINTS, *embed.ENDPOINTS, *models.ENDPOINTS, *pull.ENDPOINTS]
