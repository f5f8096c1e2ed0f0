"""Anthropic's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint


def endpoints() -> list[Endpoint]:
    """Anthropic's endpoints, for the table of all."""
    from cactus.server.anthropic import messages

    return list(messages.ENDPOINTS)
