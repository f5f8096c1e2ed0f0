"""Requests of the server, on a real socket: bodies of all endpoints, forms, sockets and raw bytes.

Right requests are changed in the fields of their JSON, or as bytes. Each is answered in time: with
a status below 500, and JSON or events that can be read, or by a closed connection where it was not
HTTP. The server answers the next request as if nothing had been.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import re
import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cactus.weights.convert import convert
from fuzzers.base import (
    NUMBERS,
    Case,
    Fuzzer,
    change_bytes,
    change_json,
    change_text,
    change_words,
)
from fuzzers.bodies import BODIES, EVENTS, PATHS
from tests.audio.sounds import chirp, encode
from tests.conftest import write_tiny_checkpoint
from tests.models import encoders
from tests.server.running import serving
from tests.speech_model import write_speech_folder
from tests.vision import tiny

PATIENCE = 40.0
"""Seconds for an answer; a body that does not come is waited for one second."""

HEAD = "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {}\r\n"
FIELDS = ("model", "language", "prompt", "response_format", "temperature", "stream", "stop",
          "timestamp_granularities[]", "max_tokens", "seed", "tools", "messages")  # fmt: skip
SOCKET = (
    "GET /v1/realtime?intent=transcription HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n"
)


def request(path: str, body: bytes, kind: str = "application/json", head: str = "") -> bytes:
    """A whole request."""
    head = HEAD.format(path, kind) + head + f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def frame(rng: random.Random, data: bytes, kind: int = 1) -> bytes:
    """A frame of a WebSocket, whose head is wrong at times."""
    first, mask = 0x80 | kind, rng.randbytes(4)
    if rng.random() < 0.05:
        first = rng.randrange(256)
    size, claimed = bytes([0x80 | min(len(data), 125)]), len(data)
    if rng.random() < 0.05:
        claimed = rng.choice(NUMBERS)
    if len(data) > 125:
        size = struct.pack(">BQ", 0x80 | 127, claimed % 2**64)
        if len(data) < 1 << 16:
            size = struct.pack(">BH", 0x80 | 126, claimed % 2**16)
    masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
    return bytes([first]) + size + mask + masked


class Fuzz(Fuzzer):
    """Requests."""

    errors = ()
    by_message = True
    cpu_seconds = 20.0
    memory = 3 << 30
    growth = 192 << 20  # the conversations that a model remembers

    def __init__(self, scratch: Path) -> None:
        os.environ.update(CACTUS_WEIGHTS=str(scratch / "none"), CACTUS_NO_CLOUD="1")
        checkpoint = scratch / "text"
        checkpoint.mkdir()
        write_tiny_checkpoint(checkpoint)
        convert(checkpoint, scratch / "tiny", "INT8")
        speech = write_speech_folder(scratch)
        others = []
        for name in ("bert", "bert_ranker"):
            others.append(scratch / name)
            convert(encoders.write(name, scratch / f"checkpoint-{name}"), others[-1], "FP32")
        others.append(scratch / "tiny-vl")
        convert(tiny.write_checkpoint(scratch / "vl"), others[-1], "FP16")
        self._stack = ExitStack()
        patient = {"header_seconds": 1.0, "body_seconds": 1.0, "socket_seconds": 0.3}
        self._server = self._stack.enter_context(
            serving(
                *(scratch / "tiny", speech, *others), cache=32 << 20, max_sockets=1000, **patient
            )
        )
        self._sound = encode(chirp(0.5), 16_000, "WAV", "PCM_16")
        self._names = ["tiny", speech.name]
        for path in BODIES:
            for body in BODIES[path]:
                self.run(Case("right", request(path, json.dumps(body).encode())))
            assert " 200 " in self.said or len(BODIES[path]) > 1, self.said

    def close(self) -> None:
        """End the server."""
        self._stack.close()

    def make(self, rng: random.Random) -> Case:
        """A changed request."""
        way = rng.random()
        if way < 0.1:
            return Case("form", self._form(rng))
        if way < 0.2:
            return Case("socket", self._socket(rng))
        if way < 0.23:
            line = change_words(rng, rng.choice(PATHS)) if rng.random() < 0.7 else rng.choice(PATHS)
            head = line.encode("utf-8", "replace") + b" HTTP/1.1\r\nHost: localhost\r\n"
            return Case("raw", self._safe(head + b"Connection: close\r\nContent-Length: 0\r\n\r\n"))
        path = rng.choice(list(BODIES))
        body: Any = rng.choice(BODIES[path])
        for _ in range(rng.choice((1, 1, 2, 3))):
            body = change_json(rng, body)
        text = json.dumps(body).encode()
        if rng.random() < 0.15:
            text = change_text(rng, text)
        data = request(path, text[: 1 << 20])
        if way > 0.85:
            return Case("raw", self._safe(change_bytes(rng, data, data)))
        return Case(path.strip("/").replace("/", "_"), data)

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """Its JSON changed once more, or its bytes."""
        head, _, body = case.data.partition(b"\r\n\r\n")
        if case.kind not in ("raw", "form", "socket") and rng.random() < 0.8:
            path = head.split(b" ")[1].decode("utf-8", "replace")
            try:
                changed = change_json(rng, json.loads(body))
                return Case(case.kind, request(path, json.dumps(changed).encode()[: 1 << 20]))
            except (ValueError, RecursionError):
                pass
        return Case("raw", self._safe(change_bytes(rng, case.data, other.data)))

    def _safe(self, data: bytes) -> bytes:
        """Not what ends the server, or asks the network."""
        return data if not any(word in data for word in (b"/stop", b"/pull")) else b"GET / HTTP/1.1"

    def _form(self, rng: random.Random) -> bytes:
        parts = [("file", self._sound), ("model", self._names[1].encode())]
        for _ in range(rng.choice((0, 1, 2, 4))):
            value = rng.choice(
                (b"en", b"json", b"verbose_json", b"srt", b"0", b"-1", b"true", b"[]")
            )
            parts.append((rng.choice(FIELDS), value))
        at = rng.randrange(len(parts))
        if rng.random() < 0.6:
            parts[at] = (parts[at][0], change_bytes(rng, parts[at][1], self._sound))
        text = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), b'; filename="a.wav"' if name == "file" else b"", value)
            for name, value in parts
        )
        text += b"--b--\r\n"
        if rng.random() < 0.2:
            text = change_bytes(rng, text, text)
        path = rng.choice(("/v1/audio/transcriptions", "/v1/audio/translations"))
        return request(path, text, "multipart/form-data; boundary=b")

    def _socket(self, rng: random.Random) -> bytes:
        data = SOCKET.format(base64.b64encode(rng.randbytes(16)).decode()).encode()
        for _ in range(rng.choice((1, 2, 4, 8))):
            event = rng.choice(EVENTS)
            if rng.random() < 0.6:
                event = change_json(rng, event)
            text = json.dumps(event).encode()[:100_000]
            if rng.random() < 0.1:
                text = change_bytes(rng, text, text)
            data += frame(rng, text, rng.choice((1, 1, 1, 1, 2, 9, 8, 0)))
        return data

    def run(self, case: Case) -> None:
        """Send it, read the answer, and see that the server is there."""
        whole, rest = case.kind not in ("raw", "socket"), b""
        data = case.data
        if case.kind == "socket":  # what comes before the server's answer is not read
            head, end, rest = data.partition(b"\r\n\r\n")
            data = head + end
        with self._server.connect() as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.sendall(data)
                if case.kind == "raw" and not _ends(data):
                    connection.shutdown(socket.SHUT_WR)  # which is how clients leave
                status, kind, body = _answer(connection, rest)
            except ConnectionError:
                assert not whole, "the connection was closed"
                status, kind, body = 0, "", b""
        if case.kind == "right":
            assert status < 500, (status, body)
        assert status < 500 or status == 503, f"{status}: {body[:1000]!r}"
        if whole:
            assert status >= 200, "no answer"
            _check(status, kind, body)
        if case.chance().random() < 0.1:
            assert self._server.ask("GET", "/health").status_code == 200
        self.said = f"{case.kind} {status} {body[:600].decode('utf-8', 'replace')}"


def _ends(data: bytes) -> bool:
    """Whether the server knows where a request ends, and that it is the last."""
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = re.findall(rb"(?i)^content-length: *(\d{1,9})\r?$", head, re.MULTILINE)
    return b"Connection: close" in head and lengths == [b"%d" % len(body)]


def _answer(connection: socket.socket, frames: bytes) -> tuple[int, str, bytes]:
    """Status, type and body; status 0 where the connection is closed without an answer.

    `frames` are sent where it becomes a socket.
    """
    reply = http.client.HTTPResponse(connection)
    try:
        reply.begin()
        if reply.status == 101:
            connection.sendall(frames)
            return 101, "", _events(reply.fp)
        return reply.status, reply.headers.get("content-type", ""), reply.read()
    except http.client.HTTPException:
        return 0, "", b""


def _events(stream: Any) -> bytes:
    """What a socket says until it is closed; AssertionError for an event that is none."""
    said = b""
    while len(head := stream.read(2)) == 2:
        size = head[1]
        if size > 125:
            size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
        data = stream.read(size)
        if head[0] == 0x88:
            break
        if head[0] == 0x81:
            kind = json.loads(data)["type"]
            assert b"the server failed" not in data, data
            said += kind.encode() + b" "
    return said


def _check(status: int, kind: str, body: bytes) -> None:
    """AssertionError where a body is not what its type says, or an error names nothing."""
    if kind.startswith("application/json"):
        found = json.loads(body)
        if status >= 400:
            error = found.get("error", found)
            message = error if isinstance(error, str) else error["message"]
            assert message and len(message) < 3000, message
    elif kind.startswith(("text/event-stream", "application/x-ndjson")):
        for line in body.decode().splitlines():
            text = line.removeprefix("data:").strip()
            if text.startswith("{"):
                assert "the server failed" not in text, text
                json.loads(text)
