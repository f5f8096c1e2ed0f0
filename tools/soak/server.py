"""The server that is asked, and its clients: some leave, some do not read, some only hold on."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from .doors import ASKED, another, messages
from .faults import Faults, chances
from .hurt import ROOM
from .watch import children, runs, seen

PATIENCE = 600
"""Seconds in which an answer has to come, on a machine that has other things to do, too."""
IDLE = 60
"""Seconds after which a server may close a connection that nobody uses; then it is opened again."""
CLIENTS = 4
CHAT = {"messages": messages("Hello"), "max_tokens": 4}
KINDS = ("asked", "asked", "chat", "stream", "tokenize", "embed", "models", "status", "metrics",
         "error", "missing", "left")  # fmt: skip
LARGE = 300_000
"""Bytes of a body that a process of its own looks at first."""

Reply = tuple[int, Any]


def start(*models: Path, environment: Mapping[str, str] = {}) -> tuple[subprocess.Popen[str], int]:
    """A server of some models, and its port."""
    command = [sys.executable, "-u", "-m", "cactus", "serve", *map(str, models), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--memory", "1GB", "--cache", "1MB", "--drain", "5s"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CACTUS_THREADS": "1", **environment},
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().strip().rpartition(":")[2])
    threading.Thread(target=process.stdout.read, daemon=True).start()
    while True:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        time.sleep(0.1)


class Client:
    """One connection, which is opened again where the server has closed it for being idle."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._used = time.monotonic()

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """The status and the body of an answer, JSON where it is."""
        data = None if body is None else json.dumps(body)
        while True:
            try:
                self._connection.request(method, path, data, {"Content-Type": "application/json"})
                reply = self._connection.getresponse()
                break
            except ConnectionError:
                self._connection.close()
                if time.monotonic() - self._used < IDLE:
                    raise
                self._used = time.monotonic()
        content = reply.read()
        self._used = time.monotonic()
        if reply.headers.get_content_type() == "application/json":
            return reply.status, json.loads(content)
        return reply.status, content

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class Server:
    """A server, all that its clients hold open, and what has gone wrong."""

    def __init__(
        self, model: Path, embedder: Path, idle: int, slow: int, faults: Faults, **given: str
    ) -> None:
        self.name, self.embedder, self.faults = model.name, embedder.name, faults
        self.process, self.port = start(model, embedder, environment=given)
        self.answers: list[str | None] = [None] * len(ASKED)
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._idle, self._slow = idle, slow
        self._held: list[socket.socket] = []
        self._turn = 0
        self._begin_threads()

    def _begin_threads(self) -> None:
        """So many ask at once that the server begins all threads that it may have."""
        for _ in range(4):
            held = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(64)]
            for each in held:
                each.sendall(b"GET /cactus/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for each in held:
                assert each.recv(15) == b"HTTP/1.1 200 OK", "the server is not well"
                each.close()

    def hold(self) -> None:
        """Let idle connections and readers that do not read begin."""
        self._held = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(self._idle)]
        self._held += [slow_reader(self.port) for _ in range(self._slow)]

    def release(self) -> None:
        """Close what clients hold, and wait until the server has found that."""
        for each in self._held:
            each.close()
        self._held.clear()
        before, now = None, seen(self.process.pid)
        while now["descriptors"] != before:
            time.sleep(0.5)
            before, now = now["descriptors"], seen(self.process.pid)

    def heap(self) -> dict[str, int]:
        """What the server has of its heap."""
        client = Client(self.port)
        found = self.faults.heap(self.process.pid, lambda: client.ask("GET", "/cactus/status"))
        client.close()
        return found

    def end(self) -> int:
        """The exit status of the server that was told to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def round(self, told: Mapping[str, Any], answers: list[str | None]) -> None:
        """Requests, loads and faults; `answers` are those of the other doors."""
        chosen = random.Random(told["round"])
        self.answers = answers
        self.faults.step_clock(chosen)
        share = -(-told["requests"] // CLIENTS)
        with ThreadPoolExecutor(CLIENTS) as pool:
            seeds = [CLIENTS * told["round"] + n for n in range(CLIENTS)]
            for done in [pool.submit(self._client, share, seed) for seed in seeds]:
                self._attempt("client", done.result)
        works: dict[str, Callable[[Client], None]] = {
            "load": lambda client: self._load(client, told["loads"]),
            "failing files": lambda client: self._failing(client, chosen, told["faults"]),
            "checker killed": self._checker_killed,
            "no memory": lambda client: self._starved(client, chosen),
        }
        client = Client(self.port)
        for name, work in works.items():
            self.faults.step_clock(chosen)
            self._attempt(name, lambda work=work: work(client))
        client.close()

    def _attempt(self, name: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except (AssertionError, OSError, HTTPException) as error:
            self.wrong.append(f"server, {name}: {type(error).__name__}: {error}"[:2000])

    def _client(self, requests: int, seed: int) -> None:
        chosen, client = random.Random(seed), Client(self.port)
        for _ in range(requests):
            kind = chosen.choice(KINDS)
            if kind == "left":
                _leave(self.port)
            elif kind == "asked":
                self._asked(client, chosen.randrange(len(ASKED)))
            else:
                method, path, body, expected = self._request(kind, chosen)
                status, told = client.ask(method, path, body)
                assert status == expected, f"{kind}: {status} {told!r:.500}"
        client.close()

    def _asked(self, client: Client, index: int) -> None:
        """A question whose answer is known."""
        text, options = ASKED[index]
        status, told = client.ask("POST", "/v1/chat/completions", self._chat(text, options))
        assert status == 200, f"asked: {status} {told}"
        said = told["choices"][0]["message"]["content"]
        assert said == self.answers[index], f"{index}: {said!r}, not {self.answers[index]!r}"

    def _chat(self, text: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self.name, "messages": messages(text), **options}

    def _request(self, kind: str, chosen: random.Random) -> tuple[str, str, Any, int]:
        asked = another(chosen)
        text, chat = asked[0]["content"], {**CHAT, "model": self.name, "messages": asked}
        return {
            "chat": ("POST", "/v1/chat/completions", chat, 200),
            "stream": ("POST", "/v1/chat/completions", {**chat, "stream": True}, 200),
            "tokenize": ("POST", "/tokenize", {"model": self.name, "content": text}, 200),
            "embed": ("POST", "/v1/embeddings", {"model": self.embedder, "input": text[:30]}, 200),
            "models": ("GET", "/v1/models", None, 200),
            "status": ("GET", "/cactus/status", None, 200),
            "metrics": ("GET", "/metrics", None, 200),
            "error": ("POST", "/v1/chat/completions", {**chat, "messages": text}, 400),
            "missing": ("GET", f"/{chosen.random()}", None, 404),
        }[kind]

    def _load(self, client: Client, times: int) -> None:
        """Unload the model and have it loaded again."""
        for _ in range(times):
            self._unload(client)
            self._asked(client, 0)

    def _unload(self, client: Client) -> None:
        status, told = client.ask("POST", "/cactus/unload", {"model": self.name})
        assert status == 200, f"unload: {status} {told}"

    def _may_fail(self, client: Client, what: str, body: Any) -> None:
        """Ask something that may be refused, as an error of the server that says why."""
        status, told = client.ask("POST", "/v1/chat/completions", body)
        if status != 200:
            assert status in (404, 500, 503, 507), f"{what}: {status} {told}"
            message = told["error"]["message"]
            self.refused[f"server, {what}: {status}: {message[:100]}"] += 1

    def _failing(self, client: Client, chosen: random.Random, times: int) -> None:
        """Load the model while its files fail; then when they do not."""
        for _ in range(times):
            self._unload(client)
            self._turn += 1
            with self.faults.on(chances(self._turn, chosen)):
                self._may_fail(client, "failing files", self._chat(*ASKED[0]))
            self._asked(client, 0)

    def _checker_killed(self, client: Client) -> None:
        """The process that looks at large bodies is killed, between two of them or within one."""
        large = {**self._chat(*ASKED[0]), "user": "x" * LARGE}
        killed: list[int] = []
        for within in (False, True):
            status, told = client.ask("POST", "/v1/chat/completions", large)
            assert status == 200, f"a large body: {status} {told}"
            for child in children(self.process.pid):
                killed.append(child)
                if within:
                    threading.Timer(0.002, os.kill, (child, signal.SIGKILL)).start()
                else:
                    os.kill(child, signal.SIGKILL)
            status, told = client.ask("POST", "/v1/chat/completions", large)
            assert status in (200, 503), f"a killed checker: {status} {told}"
            self.refused[f"server, checker killed: {status}"] += 1
        while any(map(runs, killed)):
            time.sleep(0.005)
        status, told = client.ask("POST", "/v1/chat/completions", large)
        assert status in (200, 503), f"after that: {status} {told}"  # 503: it has found it dead
        status, told = client.ask("POST", "/v1/chat/completions", large)
        assert status == 200, f"after that: {status} {told}"
        self._asked(client, 1)

    def _starved(self, client: Client, chosen: random.Random) -> None:
        """Few addresses are left to the server."""
        pid = self.process.pid
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        room = pages * resource.getpagesize() + chosen.choice(ROOM)
        _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
        self._unload(client)
        resource.prlimit(pid, resource.RLIMIT_AS, (room, hard))
        try:
            for text, options in ASKED[:4]:
                self._may_fail(client, "no memory", self._chat(text, options))
        finally:
            resource.prlimit(pid, resource.RLIMIT_AS, (hard, hard))
        self._asked(client, 0)


def _leave(port: int) -> None:
    """Ask for a long answer, and go away."""
    raw = socket.create_connection(("127.0.0.1", port))
    data = json.dumps({**CHAT, "max_tokens": 300, "stream": True}).encode()
    raw.sendall(head(len(data)) + data)
    raw.settimeout(PATIENCE)
    raw.recv(1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def slow_reader(port: int) -> socket.socket:
    """Somebody who asks for a long stream and reads none of it."""
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    data = json.dumps({**CHAT, "max_tokens": 400, "stream": True}).encode()
    raw.sendall(head(len(data)) + data)
    return raw


def head(length: int) -> bytes:
    """The head of a chat's request."""
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
