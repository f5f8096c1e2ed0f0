"""How the server is set up: one value of each kind, checked before anything listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT = 8080


@dataclass(frozen=True)
class Settings:
    """What ``cactus serve`` was told.

    `models` are weights folders; the first is the default. `max_body` and `max_upload` are bytes of
    a JSON body and of a form. Names that end in `_seconds` are times after which somebody is no
    longer waited for.
    """

    models: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    uds: Path | None = None
    """A Unix socket to listen at, instead of an address and a port."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Further names of models: what a client asks for, and the name that it stands for."""

    keys: tuple[str, ...] = field(default=(), repr=False)
    """Those that are let in; without any, everybody is."""
    admin_keys: tuple[str, ...] = field(default=(), repr=False)
    """Of these, those that may change what is loaded and stored, and see what all have used."""
    insecure: bool = False
    """Listen elsewhere than on this machine without a key. Nobody can change anything then."""
    allow_hosts: tuple[str, ...] = ()
    """Names by which it may be called, beside localhost and addresses; "*" is any."""
    allow_origins: tuple[str, ...] = ()
    """Web pages that may call it, beside its own and those of this machine; "*" is any."""
    isolate_keys: bool = False
    """Whether requests with different keys share no prefixes."""
    tls_cert: Path | None = None
    tls_key: Path | None = None

    memory: int | None = None
    """Bytes for all models and their caches; None: a share of what the machine has left."""
    cache: int | None = None
    """Bytes of keys and values that each model remembers; None: a quarter of `memory`, or less."""
    keep_seconds: float | None = None
    """How long a model that nobody uses stays in memory; None: until others need the room."""
    image_urls: bool = False
    """Fetch images at the addresses that requests give."""
    docs: Path | None = None
    """A folder of documents that chats may be answered from."""

    max_body: int = 32 << 20
    max_upload: int = 100 << 20
    max_header: int = 64 << 10
    max_connections: int = 2048
    max_sockets: int = 16
    """WebSockets at a time; where there are several keys, half of them for one key."""
    max_running: int = 64
    """Answers that are worked on at a time."""
    max_waiting: int = 256
    """Requests that wait for those."""
    max_waiting_tokens: int = 400_000
    """Tokens of prompts, about, that may wait."""

    timeout_seconds: float | None = None
    """What a request may take, from its arrival to its last byte."""
    header_seconds: float = 15.0
    body_seconds: float = 30.0
    """For a body to begin, and to go on; besides, each 10 kB may take a second."""
    write_seconds: float = 60.0
    """How long a client may leave unread what was sent."""
    keep_alive_seconds: float = 75.0
    """How long a connection stays open without a request."""
    socket_seconds: float = 300.0
    """How long a WebSocket stays open on which nothing is said or written down."""
    ping_seconds: float = 10.0
    drain_seconds: float = 30.0
    """How long requests may go on after the server was asked to end."""
