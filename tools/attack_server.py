"""Measures what well-behaved clients of a server notice of those that are not.

python tools/attack_server.py                  the tiny random model
python tools/attack_server.py --model FOLDER --prompt 4000

Two clients chat all the time. Their times are taken by turns without and with an attack: headers
and bodies that never end, idle connections, readers that do not read, bodies of 200 MB, deep JSON,
garbage. Printed is the 95th percentile of both, and how soon the place of a client is free that
goes away in the middle of its prompt. Exit status 1 where an attack makes it a fifth slower.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from tempfile import mkdtemp
from typing import Any

from soak.made import make
from soak.server import head, slow_reader, start

ALLOWED = 1.2
ROUNDS = 5
ASKED = 40
"""Chats in a round."""
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16}

Attack = Callable[[int, Any], None]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--prompt", type=int, default=400, help="tokens of a prompt that is left")
    given = parser.parse_args()
    process, port = start(given.model or make(Path(mkdtemp(prefix="attack-"))).model)
    worst = 0.0
    try:
        _times(port)
        for name, attack in ATTACKS.items():
            quiet, loud = [], []
            for _ in range(ROUNDS):
                quiet += _times(port)
                with _running(attack, port):
                    loud += _times(port)
            before, under = _p95(quiet), _p95(loud)
            worst = max(worst, under / before)
            print(f"{name:24} p95 {1000 * before:7.1f} ms -> {1000 * under:7.1f} ms "
                  f"({under / before:.2f}x)", flush=True)  # fmt: skip
        freed = [_freed(port, given.prompt) for _ in range(10)]
        print(f"a place is free after    {1000 * median(freed):.0f} ms, at most "
              f"{1000 * max(freed):.0f} ms")  # fmt: skip
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return 1 if worst > ALLOWED else 0


def _times(port: int) -> list[float]:
    """Seconds of chats of two clients."""
    times: list[float] = []

    def client() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(ASKED // 2):
            began = time.perf_counter()
            body = json.dumps(CHAT)
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 200, reply.status
            times.append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return times


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


@contextmanager
def _running(attack: Attack, port: int) -> Iterator[None]:
    forked = multiprocessing.get_context("fork")  # in a thread of this process it would slow us
    over = forked.Event()
    process = forked.Process(target=attack, args=(port, over))
    process.start()
    time.sleep(0.3)
    try:
        yield
    finally:
        over.set()
        process.join()


def _connections(count: int, begin: bytes, drip: bytes) -> Attack:
    """Many connections that begin with something and send a little now and then."""

    def attack(port: int, over: Any) -> None:
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for each in held:
            each.sendall(begin)
        while not over.wait(0.5):
            for each in held:
                with suppress(OSError):
                    each.sendall(drip)
        for each in held:
            each.close()

    return attack


def _slow(port: int, over: Any) -> None:
    held = [slow_reader(port) for _ in range(8)]
    over.wait()
    for each in held:
        each.close()


def _repeat(body: bytes, declared: int | None = None) -> Attack:
    """One client that sends a body again and again."""

    def attack(port: int, over: Any) -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(head(declared or len(body)))
                for at in range(0, declared or len(body), 1 << 20):
                    if over.is_set():
                        break
                    raw.sendall(body[at : at + (1 << 20)] if declared is None else body)
                raw.settimeout(5)
                raw.recv(4096)
            time.sleep(0.05)

    return attack


def _freed(port: int, tokens: int) -> float:
    """Seconds from when a client leaves in its prompt until nothing is worked on."""
    body = {**CHAT, "messages": [{"role": "user", "content": "a b " * (tokens // 2)}]}
    data = json.dumps(body).encode()
    raw = socket.create_connection(("127.0.0.1", port))
    raw.sendall(head(len(data)) + data)
    time.sleep(0.02)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    began = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while True:
        connection.request("GET", "/cactus/running")
        told = json.loads(connection.getresponse().read())
        if told["running"] == 0:
            connection.close()
            return time.perf_counter() - began


ATTACKS: dict[str, Attack] = {
    "nothing": lambda port, over: None,
    "1,000 idle connections": _connections(1000, b"", b""),
    "slow headers": _connections(200, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"),
    "slow bodies": _connections(200, head(1000), b" "),
    "readers that do not read": _slow,
    "bodies of 200 MB": _repeat(b" " * (1 << 20), 200 << 20),
    "bodies of 30 MB": _repeat(b'{"messages": "' + b"x" * (30 << 20) + b'"}'),
    "texts of 30 MB": _repeat(
        b'{"messages": [{"role": "user", "content": "' + b"x y " * (7 << 20) + b'"}]}'
    ),
    "30 MB of brackets": _repeat(b'{"messages": [' + b"[]," * (10 << 20) + b"1]}"),
    "deep JSON": _repeat(b"[" * 1_000_000),
    "garbage": _repeat(bytes(range(256)) * 4000),
}

if __name__ == "__main__":
    sys.exit(main())
