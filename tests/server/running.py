"""The real server, on a real socket, in a thread of the tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from cactus.server import app, listen
from cactus.server.endpoint import Endpoint
from cactus.server.run import server_of
from cactus.server.service import Service
from cactus.server.settings import Settings

PATIENCE = 60.0
"""Seconds after which a test gives up what it waits for."""


@dataclass(frozen=True)
class Running:
    """A server that listens at `url`; `service` is the very one, to be looked at."""

    url: str
    port: int
    service: Service

    def client(self, **options: Any) -> httpx.Client:
        """A client of it, to be closed; paths are enough as addresses."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        with self.client() as client:
            return client.request(method, path, **options)

    def connect(self) -> socket.socket:
        """A connection on which nothing was sent yet, to be closed."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@contextmanager
def serving(
    *models: Path,
    options: Mapping[str, Any] | None = None,
    extra: Sequence[Endpoint] = (),
    tools: Sequence[Callable[..., Any]] = (),
    **settings: Any,
) -> Iterator[Running]:
    """A server of some weights folders, until it is left.

    `options` are those of `Model`, `settings` those of `Settings`; `extra` is answered, too.
    """
    (listener,) = listen.open_sockets(Settings(models, port=0))
    port = listener.getsockname()[1]
    service = Service(Settings(models, port=port, **settings), options, tools)
    with patch.object(app, "endpoints", lambda known=app.endpoints: [*known(), *extra]):
        server = server_of(service)
    thread = threading.Thread(target=server.run, args=([listener],), name="server")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        yield Running(f"http://127.0.0.1:{port}", port, service)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive(), "the server did not end"


def until(true: Any, patience: float = PATIENCE) -> None:
    """Wait until `true` says so; AssertionError when that takes too long."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def value_of(text: str, name: str) -> float:
    """The value of a line of metrics; 0 where it is not there yet."""
    lines = (line for line in text.splitlines() if line.startswith(name))
    return next((float(line.rpartition(" ")[2]) for line in lines), 0.0)
