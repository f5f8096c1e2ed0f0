"""OpenAI's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint


def endpoints() -> list[Endpoint]:
    """Its part of the table."""
    from cactus.server.openai import chat, models

    return [*chat.ENDPOINTS, *models.ENDPOINTS]
