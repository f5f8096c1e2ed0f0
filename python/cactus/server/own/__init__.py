"""What only this server has: its state, its page, its documents."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint


def endpoints() -> list[Endpoint]:
    """This server's own endpoints, for the table of all."""
    from cactus.server.own import admin, documents, health, openapi, status, tokens

    return [
        *health.ENDPOINTS,
        *status.ENDPOINTS,
        *documents.ENDPOINTS,
        *tokens.ENDPOINTS,
        *admin.ENDPOINTS,
        *openapi.ENDPOINTS,
    ]
