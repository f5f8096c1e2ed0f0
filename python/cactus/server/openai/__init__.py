"""OpenAI's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint, Socket


def endpoints() -> list[Endpoint]:
    """Its part of the table."""
    from cactus.server.openai import chat, embeddings, models, rerank

    return [
        *chat.ENDPOINTS,
        *models.ENDPOINTS,
        *embeddings.ENDPOINTS,
        *rerank.ENDPOINTS,
    ]


def sockets() -> list[Socket]:
    """What of it speaks WebSocket."""
    from cactus.server.openai.realtime import endpoint

    return endpoint.SOCKETS
