"""OpenAI's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint, Socket


def endpoints() -> list[Endpoint]:
    """OpenAI's endpoints, for the table of all."""
    from cactus.server.openai import audio, chat, completions, embeddings, models, rerank
    from cactus.server.openai.realtime import endpoint as realtime
    from cactus.server.openai.responses import endpoints as responses

    return [
        *chat.ENDPOINTS,
        *completions.ENDPOINTS,
        *responses.ENDPOINTS,
        *embeddings.ENDPOINTS,
        *rerank.ENDPOINTS,
        *audio.ENDPOINTS,
        *realtime.ENDPOINTS,
        *models.ENDPOINTS,
    ]


def sockets() -> list[Socket]:
    """What of it speaks WebSocket."""
    from cactus.server.openai.realtime import endpoint

    return endpoint.SOCKETS
