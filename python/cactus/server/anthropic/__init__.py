"""Anthropic's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint


def endpoints() -> list[Endpoint]:
    """Its part of the table."""
    from cactus.server.anthropic import messages

    return list(messages.ENDPOINTS)
