"""Asks a server of the tiny random model for a long time, and says what stays behind.

python tools/soak_server.py                         100,000 requests, a few minutes
python tools/soak_server.py --requests 2000         a short form; the suite runs one
python tools/soak_server.py --model FOLDER          another model

The server runs in a process of its own. Its memory and descriptors are looked at after a tenth of
the requests, when everything has been used once, and at the end: exit status 1 where either has
grown by more than a twentieth. Among the requests are streams that are left in the middle, errors,
and, all the time, idle connections and readers that do not read. Then the model is unloaded and
loaded again a thousand times, and the same holds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GROWTH = 0.05
PATIENCE = 600
"""Seconds in which an answer has to come, on a machine that has other things to do, too."""
IDLE = 60
"""Seconds after which a server may close a connection that nobody uses; then it is opened again."""
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
KINDS = ("chat", "stream", "tokenize", "models", "status", "metrics", "error", "missing", "left")


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=8)
    parser.add_argument("--loads", type=int, default=1000)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    model = given.model or tiny_model()
    process, port = start(model)
    try:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(given.idle)]
        slow = [slow_reader(port) for _ in range(given.slow)]
        first = given.requests // 10
        _ask(port, first, given.clients)
        before = _seen(process.pid)
        began = time.monotonic()
        for part in range(9):
            _ask(port, first, given.clients, seed=100 * part)
            print(f"{_seen(process.pid, 0)[0] / 2**20:.1f} MiB", end=" ", flush=True)
        print()
        seconds = time.monotonic() - began
        after = _seen(process.pid)
        for each in (*idle, *slow):
            each.close()
        _load(port, given.loads // 10, model.name)
        unloaded = _seen(process.pid)
        _load(port, given.loads - given.loads // 10, model.name)
        reloaded = _seen(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    print(f"{given.requests} requests, {(given.requests - first) / seconds:.0f} a second")
    print(f"resident memory {before[0] / 2**20:.1f} -> {after[0] / 2**20:.1f} MiB")
    print(f"descriptors     {before[1]} -> {after[1]}")
    print(f"{given.loads} loads: {unloaded[0] / 2**20:.1f} -> {reloaded[0] / 2**20:.1f} MiB, "
          f"{unloaded[1]} -> {reloaded[1]} descriptors")  # fmt: skip
    print(f"exit status     {status}")
    pairs = (*zip(before, after, strict=True), *zip(unloaded, reloaded, strict=True))
    grown = [new > old * (1 + GROWTH) for old, new in pairs]
    return 1 if any(grown) or status else 0


def tiny_model() -> Path:
    """The weights folder of a random model, in a folder of its own."""
    import tempfile

    sys.path.insert(0, str(ROOT))
    from cactus.weights.convert import convert
    from tests.conftest import write_tiny_checkpoint

    home = Path(tempfile.mkdtemp(prefix="soak-"))
    (home / "checkpoint").mkdir()
    write_tiny_checkpoint(home / "checkpoint")
    convert(home / "checkpoint", home / "tiny", "INT8")
    return home / "tiny"


def start(model: Path) -> tuple[subprocess.Popen[str], int]:
    """A server of a model, and its port."""
    command = [sys.executable, "-u", "-m", "cactus", "serve", str(model), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--memory", "1GB", "--cache", "1MB", "--drain", "5s"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CACTUS_THREADS": "1"},
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().strip().rpartition(":")[2])
    threading.Thread(target=process.stdout.read, daemon=True).start()
    while True:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        time.sleep(0.1)


def _seen(pid: int, after: float = 2.0) -> tuple[int, int]:
    """Bytes of resident memory, and descriptors."""
    time.sleep(after)  # what was just closed is gone
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))


def _ask(port: int, requests: int, clients: int, seed: int = 10_000) -> None:
    share = -(-requests // clients)
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(_client, port, share, seed + n) for n in range(clients)]:
            done.result()


def _load(port: int, times: int, name: str) -> None:
    """Unload the model and have it loaded again, so many times."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for _ in range(times):
        for path, body in (("/cactus/unload", {"model": name}), ("/v1/chat/completions", CHAT)):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 200, f"{path}: {reply.status}"
    connection.close()


def _client(port: int, requests: int, seed: int) -> None:
    chosen = random.Random(seed)
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    used = time.monotonic()
    for _ in range(requests):
        kind = chosen.choice(KINDS)
        if kind == "left":
            _leave(port)
            continue
        method, path, body, expected = _request(kind, chosen)
        data = None if body is None else json.dumps(body)
        while True:
            try:
                connection.request(method, path, data, {"Content-Type": "application/json"})
                reply = connection.getresponse()
                break
            except ConnectionError:
                connection.close()
                if time.monotonic() - used < IDLE:
                    raise
                used = time.monotonic()
        reply.read()
        used = time.monotonic()
        assert reply.status == expected, f"{kind}: {reply.status}"
    connection.close()


def _request(kind: str, chosen: random.Random) -> tuple[str, str, dict[str, object] | None, int]:
    text = "".join(chosen.choices("abcdefgh ", k=chosen.randint(1, 60)))
    chat = {**CHAT, "messages": [{"role": "user", "content": text}]}
    return {
        "chat": ("POST", "/v1/chat/completions", chat, 200),
        "stream": ("POST", "/v1/chat/completions", {**chat, "stream": True}, 200),
        "tokenize": ("POST", "/tokenize", {"content": text}, 200),
        "models": ("GET", "/v1/models", None, 200),
        "status": ("GET", "/cactus/status", None, 200),
        "metrics": ("GET", "/metrics", None, 200),
        "error": ("POST", "/v1/chat/completions", {"messages": text}, 400),
        "missing": ("GET", f"/{chosen.random()}", None, 404),
    }[kind]


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


if __name__ == "__main__":
    sys.exit(main())
