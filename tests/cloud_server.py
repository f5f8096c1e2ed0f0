"""A service on this machine that speaks OpenAI's and Anthropic's API over TLS, or misbehaves.

It has an authority of its own, so that certificates are really checked.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "sk-test-0123456789-abcdefghijklmnopqrstuvwxyz"


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: CloudServer

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(size))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.cloud.received.append(Received(self.path, headers, body))
        script = self.cloud.script
        behave = script.pop(0) if len(script) > 1 else script[0]
        with suppress(OSError):  # the client has heard enough
            behave(self)

    def do_GET(self) -> None:
        self.cloud.received.append(Received(self.path, dict(self.headers), {}))
        self.send(200, b"{}")

    def send(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def reset(self) -> None:
        """End the connection in the hard way."""
        raw = self.connection
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        socket.socket(fileno=raw.detach()).close()
        self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


@dataclass
class CloudServer:
    url: str = ""
    authority: Path = Path()
    script: list[Behaviour] = field(default_factory=list)
    """What the next requests get; the last one is for all that follow."""
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: whoever waits ends."""
    heard: threading.Event = field(default_factory=threading.Event)
    """Set by a test that has seen what was sent so far."""
    open_connections: int = 0

    def behave(self, *script: Behaviour) -> None:
        self.script[:] = script
        self.received.clear()
        self.heard.clear()

    @property
    def last(self) -> Received:
        return self.received[-1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    cloud: CloudServer

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.cloud.open_connections += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.cloud.open_connections -= 1

    def shutdown_request(self, request: Any) -> None:
        with suppress(OSError, ValueError):
            super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        pass  # a client that does not trust us, or has gone


@contextmanager
def serve(folder: Path, name: str = "localhost") -> Iterator[CloudServer]:
    """A service at ``https://localhost``, with a certificate for `name`."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert(name)
    cloud = CloudServer(authority=folder / "authority.pem")
    authority.cert_pem.write_to_path(cloud.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server = _Server(("127.0.0.1", 0), type("CloudHandler", (Handler,), {"cloud": cloud}))
    server.cloud = cloud
    # The handshake is done by the thread of the connection.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    cloud.url = f"https://localhost:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield cloud
    finally:
        cloud.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


# -- what it may do


def reply(text: str | None, calls: list[tuple[str, str]] = (), reason: str = "stop") -> bytes:  # type: ignore[assignment]
    """A whole reply of OpenAI's API; `calls` are names and JSON."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": given}}
            for n, (name, given) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def says(text: str | None, calls: list[tuple[str, str]] = (), reason: str = "stop") -> Behaviour:  # type: ignore[assignment]
    return lambda to: to.send(200, reply(text, calls, reason))


def sends(body: bytes, status: int = 200, kind: str = "application/json", **more: str) -> Behaviour:
    return lambda to: to.send(status, body, kind, **more)


def refuses(status: int, words: str = "no", **headers: str) -> Behaviour:
    body = json.dumps({"error": {"message": words, "type": "error"}}).encode()
    return lambda to: to.send(status, body, **headers)


def event(data: Any) -> bytes:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def delta(reason: str | None = None, **fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]})


def streams(*events: bytes, pause: float = 0.0, then: Behaviour | None = None) -> Behaviour:
    """Events one after another, with pauses, and then `then`."""

    def behave(to: Handler) -> None:
        to.begin_stream()
        for each in events:
            to.wfile.write(each)
            to.wfile.flush()
            to.cloud.over.wait(pause) if pause else None
        if then is not None:
            then(to)

    return behave


def tells(*pieces: str, reason: str = "stop", pause: float = 0.0) -> Behaviour:
    """A text in pieces, as OpenAI's API streams it, and its end."""
    events = [delta(content=piece) for piece in pieces]
    return streams(
        delta(role="assistant", content=""), *events, delta(reason), event("[DONE]"), pause=pause
    )


def resets(to: Handler) -> None:
    to.reset()


def resets_when_heard(to: Handler) -> None:
    """What was sent would be lost where it has not been read."""
    to.cloud.heard.wait(10)
    to.reset()


def hangs_up(to: Handler) -> None:
    to.close_connection = True


def hangs(to: Handler) -> None:
    """Says nothing until the test is over, or the client has gone."""
    to.connection.settimeout(0.02)
    while not to.cloud.over.is_set():
        try:
            if to.connection.recv(1) == b"":
                return
        except TimeoutError:
            continue
        except OSError:
            return


def drips(to: Handler) -> None:
    """A comment every few milliseconds, for ever."""
    to.begin_stream()
    while not to.cloud.over.is_set():
        to.wfile.write(b": still here\n\n")
        to.wfile.flush()
        time.sleep(0.02)
