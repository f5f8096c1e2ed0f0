"""The process of the server: it listens, and ends cleanly."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from cactus.inputs.text import reason_of
from cactus.server import listen, state
from cactus.server.app import build
from cactus.server.guard.connection import http_protocol, socket_protocol
from cactus.server.openai.errors import DIALECT
from cactus.server.service import Service

log = logging.getLogger(__name__)

LAST_WORDS = 2
"""Seconds in which what was ended may say so."""
LAST_SECONDS = 10
"""Seconds in which threads may end that nobody can end, such as those of functions of --tools."""
INTERRUPTED = 130


class Listener(uvicorn.Server):
    """uvicorn's server, which lets requests end while it says that it is not ready any more.

    The first signal begins that; a second Ctrl-C ends the process at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._until = 0.0
        self._told = False
        self.cleanup: list[Path] = []
        """Files that are to be gone when the process is."""
        self.last = threading.Timer(LAST_SECONDS, self._leave, (0,))
        """What ends the process, if it has not ended by itself; for `run` alone to allow."""
        self.may_leave = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Heed signals, that of a terminal that is closed, too; not where nohup ignores it."""
        heeded = threading.current_thread() is threading.main_thread()
        with super().capture_signals(), ExitStack() as after:
            if heeded and sys.platform != "win32":
                before = signal.getsignal(signal.SIGHUP)
                if before is not signal.SIG_IGN:
                    after.callback(signal.signal, signal.SIGHUP, before)
                    signal.signal(signal.SIGHUP, self.handle_exit)
            yield

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A signal has come."""
        if self._service.draining and sig == signal.SIGINT:
            self._leave(INTERRUPTED)
        self.drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take leave of all; what still works in a thread then has no longer than a moment."""
        if self.may_leave:
            self.last.daemon = True
            self.last.start()
        await super().shutdown(sockets)

    def _leave(self, status: int) -> None:
        for path in self.cleanup:
            with suppress(OSError):
                path.unlink()
        os._exit(status)

    def drain(self) -> None:
        """Take nothing new, and end when what is on its way has, or its time is over."""
        if not self._service.draining:
            self._service.draining = True
            self._until = time.monotonic() + self._service.settings.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end; uvicorn asks ten times a second."""
        service = self._service
        if service.stopping.is_set():
            self.drain()
        if service.draining:
            late = time.monotonic() > self._until
            if late and service.busy:
                log.warning("requests are ended that took longer than --drain")
                service.end_all()
                await asyncio.sleep(0.2)  # for them to say so
            elif service.busy and not self._told:
                self._told = True
                log.warning(
                    "it ends when the requests on their way are answered, in %g s at most; "
                    "Ctrl-C once more ends it now",
                    service.settings.drain_seconds,
                )
            self.should_exit = self.should_exit or late or not service.busy
        return await super().on_tick(counter)


def server_of(service: Service, token: str | None = None) -> Listener:
    """What listens for a service, and has not begun."""
    settings = service.settings
    config = uvicorn.Config(
        build(service, token),
        http=http_protocol(settings, DIALECT),
        ws=socket_protocol(settings),
        interface="asgi3",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        log_level=logging.CRITICAL,  # its messages may have texts; ours are written by the guard
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=listen.BACKLOG,
        ws_per_message_deflate=False,
        timeout_keep_alive=int(settings.keep_alive_seconds),
        timeout_graceful_shutdown=LAST_WORDS,
        h11_max_incomplete_event_size=settings.max_header,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    return Listener(config, service)


def run(service: Service, sockets: Sequence[socket.socket], default: str | None = None) -> None:
    """Serve until SIGINT, SIGTERM, SIGHUP or a request to end. `default` is a model to load before.

    Raises what loading does.
    """
    token = secrets.token_urlsafe(24)
    listener = server_of(service, token)
    uds = service.settings.uds
    if uds is not None:
        listener.cleanup.append(uds)
    # Signals are heeded before anything lies on the disk, and while the model is loaded.
    with listener.capture_signals(), _known(service, sockets[0], token, listener):
        listener.may_leave = True
        try:
            asyncio.run(_serve(service, listener, list(sockets), default))
        finally:
            listener.last.cancel()


async def _serve(
    service: Service, listener: Listener, sockets: list[socket.socket], default: str | None
) -> None:
    if default is not None:
        served = service.named(default)
        assert served is not None
        async with service.use(served.name, served.abilities[0]):
            pass
    await listener.serve(sockets)


@contextmanager
def _known(
    service: Service, listening: socket.socket, token: str, listener: Listener
) -> Iterator[None]:
    """While it runs, `cactus ps` finds it; the files that it has made go with it."""
    settings = service.settings
    port = 0 if settings.uds is not None else listening.getsockname()[1]
    cert = None if settings.tls_cert is None else str(settings.tls_cert.absolute())
    url = listen.address_of(settings, port)
    if settings.uds is not None:
        url = f"unix:{settings.uds.absolute()}"
    try:
        listener.cleanup.append(state.write(state.Known(os.getpid(), url, token, cert)))
    except OSError as error:
        log.warning("'cactus ps' will not see this server: %s", reason_of(error))
    try:
        yield
    finally:
        for path in listener.cleanup:
            with suppress(OSError):
                path.unlink()
