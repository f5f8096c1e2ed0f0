"""How the server is set up: one value of each kind, checked before anything listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8080


@dataclass(frozen=True)
class Settings:
    """What ``cactus serve`` was told.

    `models` are weights folders; the first is the default. `max_body` and `max_upload` are bytes of
    a JSON body and of a form.
    """

    models: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    max_body: int = 32 << 20
    max_upload: int = 100 << 20
    ping_seconds: float = 10.0
