"""Ollama's interface."""

from __future__ import annotations

from cactus.server.endpoint import Endpoint


def endpoints() -> list[Endpoint]:
    """Its part of the table."""
    return []
