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
import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cactus.weights.convert import convert
from fuzzers.base import NUMBERS, Case, Fuzzer, change_bytes, change_json, change_text
from tests.audio.sounds import chirp, encode
from tests.chat.calls.reading import WEATHER
from tests.conftest import write_tiny_checkpoint
from tests.server.running import serving
from tests.speech_model import write_speech_folder

PATIENCE = 40.0
"""Seconds for an answer; a body that does not come is waited for one second."""

HEAD = "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {}\r\n"
ASKED = [{"role": "user", "content": "Hello"}]
PART = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
TOOL = {"name": "get_weather", "description": "Weather", "parameters": WEATHER}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQ"
    "AAAABJRU5ErkJggg=="
)

BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": ASKED, "max_tokens": 2},
        {"messages": [*ASKED, {"role": "assistant", "content": "a"}, PART], "max_tokens": 2,
         "stream": True, "stream_options": {"include_usage": True}, "stop": ["x"], "n": 1,
         "temperature": 0.5, "top_p": 0.9, "seed": 1, "logit_bias": {"5": 1}, "user": "me"},
        {"messages": ASKED, "max_completion_tokens": 2, "logprobs": True, "top_logprobs": 2,
         "presence_penalty": 0.1, "frequency_penalty": 0.1, "metadata": {"a": "b"}},
        {"messages": ASKED, "max_tokens": 4, "tools": [{"type": "function", "function": TOOL}],
         "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": ASKED, "max_tokens": 9, "response_format": {"type": "json_schema",
         "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":
         {"url": PIXEL}}]}], "max_tokens": 2},
        {"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "a",
         "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
         {"role": "tool", "tool_call_id": "a", "content": "5"}], "max_tokens": 2},
    ],
    "/v1/completions": [
        {"prompt": "Hello", "max_tokens": 2, "echo": True, "logprobs": 2, "best_of": 1},
        {"prompt": ["a", "b"], "max_tokens": 1, "stream": True, "suffix": "x", "n": 1},
        {"prompt": [[1, 2, 3], [4]], "max_tokens": 1, "stop": "y"},
    ],
    "/v1/responses": [
        {"input": "Hello", "max_output_tokens": 2, "store": False, "instructions": "Be brief."},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
         "max_output_tokens": 2, "stream": True, "tools": [{"type": "function", **TOOL}],
         "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"}},
        {"input": [{"type": "function_call_output", "call_id": "a", "output": "5"}],
         "previous_response_id": "resp_1", "max_output_tokens": 2},
    ],
    "/v1/responses/input_tokens": [{"input": "Hello"}],
    "/v1/messages": [
        {"messages": ASKED, "max_tokens": 2, "system": "Be brief.", "model": "tiny"},
        {"messages": [PART], "max_tokens": 2, "stream": True, "model": "tiny",
         "tools": [{"name": "f", "input_schema": WEATHER}], "tool_choice": {"type": "auto"},
         "thinking": {"type": "disabled"}, "stop_sequences": ["x"], "top_k": 3},
    ],
    "/v1/messages/count_tokens": [{"messages": ASKED, "model": "tiny"}],
    "/v1/embeddings": [{"input": ["a", "b"], "encoding_format": "base64", "dimensions": 2}],
    "/rerank": [{"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1}],
    "/api/chat": [
        {"model": "tiny", "messages": ASKED, "options": {"num_predict": 2}, "stream": False},
        {"model": "tiny", "messages": ASKED, "options": {"num_predict": 2, "stop": ["x"]},
         "format": {"type": "object"}, "keep_alive": "5m", "think": False},
    ],
    "/api/generate": [
        {"model": "tiny", "prompt": "a", "options": {"num_predict": 2}, "suffix": "b"},
        {"model": "tiny", "prompt": "a", "raw": True, "stream": False, "context": [1, 2],
         "options": {"num_predict": 2}, "images": [PIXEL[22:]]},
    ],
    "/api/embed": [{"model": "tiny", "input": ["a"], "truncate": True}],
    "/api/show": [{"model": "tiny", "verbose": True}],
    "/tokenize": [{"content": "Hello", "add_special": True, "with_pieces": True}],
    "/detokenize": [{"tokens": [1, 2, 3]}],
    "/v1/realtime/client_secrets": [{"expires_after": {"anchor": "created_at", "seconds": 60}}],
}  # fmt: skip
EVENTS: list[Any] = [
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
     "format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None}}}},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(4800)).decode()},
    {"type": "input_audio_buffer.commit"}, {"type": "input_audio_buffer.clear"},
    {"type": "response.create"}, {"type": "conversation.item.create", "item": {}},
]  # fmt: skip
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
        self._stack = ExitStack()
        patient = {"header_seconds": 1.0, "body_seconds": 1.0, "socket_seconds": 2.0}
        self._server = self._stack.enter_context(
            serving(scratch / "tiny", speech, cache=32 << 20, max_sockets=1000, **patient)
        )
        self._sound = encode(chirp(0.5), 16_000, "WAV", "PCM_16")
        self._names = ["tiny", speech.name]
        for path in BODIES:
            for body in BODIES[path]:
                self.run(Case("right", request(path, json.dumps(body).encode())))

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
        whole = case.kind not in ("raw", "socket")
        with self._server.connect() as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.sendall(case.data)
                if not whole:
                    connection.shutdown(socket.SHUT_WR)
                status, kind, body = _answer(connection)
            except (ConnectionError, BrokenPipeError):
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
        self.said = f"{case.kind} {status} {body[:300].decode('utf-8', 'replace')}"


def _answer(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, type and body; status 0 where the connection is closed without an answer."""
    reply = http.client.HTTPResponse(connection)
    try:
        reply.begin()
        if reply.status == 101:
            while connection.recv(1 << 16):
                pass
            return 101, "", b""
        return reply.status, reply.headers.get("content-type", ""), reply.read()
    except http.client.HTTPException:
        return 0, "", b""


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
