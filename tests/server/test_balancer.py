"""Several servers behind HAProxy, by the file that the package has for it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cactus import Model
from tests.server.processes import Process
from tests.server.running import PATIENCE, until

FILE = Path(__file__).parents[2] / "packaging/haproxy.cfg"
SYSTEM = {"role": "system", "content": "You answer in a few words."}
SERVERS = 3

if not shutil.which("haproxy"):
    if os.environ.get("CACTUS_TEST_BALANCER"):
        pytest.fail("haproxy is not installed", pytrace=False)
    pytest.skip("haproxy is not installed", allow_module_level=True)


@dataclass(frozen=True)
class Cluster:
    """Servers, and the address that stands for them."""

    url: str
    servers: list[Process]

    def chat(self, messages: list[dict[str, str]], **options: Any) -> Any:
        """The answer to a chat, which has to be one."""
        body = {"messages": messages, "max_tokens": 8, **options}
        reply = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def answered(self) -> list[int]:
        """How many chats each server has answered."""
        return [_answered(server.url) for server in self.servers]


def _answered(url: str) -> int:
    found = re.search(
        r"^cactus:request_success_total\{.*\} ([\d.e+]+)$",
        httpx.get(f"{url}/metrics").text,
        re.MULTILINE,
    )
    return 0 if found is None else int(float(found[1]))


def _configured(port: int, urls: list[str]) -> str:
    """The package's file for these servers; what it says else is left as it is."""
    text = FILE.read_text("utf-8").replace("bind 127.0.0.1:8080", f"bind 127.0.0.1:{port}")
    known = "    server one 127.0.0.1:8081\n    server two 127.0.0.1:8082\n"
    assert text.count(known) == 2
    lines = [
        f"    server s{index} {url.removeprefix('http://')}\n" for index, url in enumerate(urls)
    ]
    return text.replace(known, "".join(lines))


@pytest.fixture
def cluster(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    servers = [Process(str(tiny_model), "--port", "0") for _ in range(SERVERS)]
    try:
        for server in servers:
            server.up()
        with _balanced([server.url for server in servers], tmp_path) as url:
            yield Cluster(url, servers)
    finally:
        for server in servers:
            server.end()


@contextmanager
def _balanced(urls: list[str], folder: Path) -> Iterator[str]:
    """The address that stands for servers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "haproxy.cfg"
    file.write_text(_configured(port, urls), "utf-8")
    balancer = subprocess.Popen(["haproxy", "-db", "-f", str(file)], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: balancer.poll() is None and _status(f"{url}/ready") == 200)
        yield url
    finally:
        balancer.kill()
        balancer.wait()


def _status(url: str) -> int | None:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return None


def test_a_conversation_stays_with_the_server_that_remembers_it(cluster: Cluster) -> None:
    for number in range(12):
        messages = [SYSTEM, {"role": "user", "content": f"Question {number}?"}]
        read = 0
        for _ in range(3):
            answer = cluster.chat(messages)
            usage = answer["usage"]
            assert usage["prompt_tokens_details"]["cached_tokens"] >= read
            read = usage["prompt_tokens"]
            messages += [answer["choices"][0]["message"], {"role": "user", "content": "And then?"}]
            messages[-2] = {"role": "assistant", "content": messages[-2]["content"]}
    answered = cluster.answered()
    assert sum(answered) == 36
    assert all(count % 3 == 0 for count in answered) and sum(map(bool, answered)) > 1


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_is_noticed_by_nobody(
    cluster: Cluster, tiny_model: Path, end: signal.Signals
) -> None:
    questions = [f"What is {number}?" for number in range(60)]

    def ask(index: int) -> str:
        if index == 20:
            cluster.servers[0].process.send_signal(end)
        found = cluster.chat([{"role": "user", "content": questions[index]}], max_tokens=24)
        text: str = found["choices"][0]["message"]["content"]
        return text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(len(questions))))
    with Model(tiny_model) as model:
        expected = [answer.text for answer in model.chat_many(questions, max_tokens=24)]
    assert answers == expected
    assert cluster.servers[0].wait() == (0 if end == signal.SIGTERM else -end)


def test_a_stored_response_is_found_again(cluster: Cluster) -> None:
    for number in range(6):
        with httpx.Client(
            base_url=cluster.url, headers={"Authorization": f"Bearer {number}"}, timeout=PATIENCE
        ) as client:
            body = {"input": f"Remember {number}.", "max_output_tokens": 8}
            first = client.post("/v1/responses", json=body).json()
            body["previous_response_id"] = first["id"]
            second = client.post("/v1/responses", json=body)
            assert second.status_code == 200, second.text
            assert client.get(f"/v1/responses/{first['id']}").json()["id"] == first["id"]


class _Named(BaseHTTPRequestHandler):
    """A server that answers with its port."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Checks of whether it is ready hang up."""


@pytest.fixture
def named(tmp_path: Path) -> Iterator[str]:
    """The address of a balancer before servers that answer with their names."""
    servers = [_Server(("127.0.0.1", 0), _Named) for _ in range(SERVERS)]
    try:
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_address[1]}" for server in servers]
        with _balanced(urls, tmp_path) as url:
            yield url
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def _system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


CHAT = "/v1/chat/completions"
DIALECTS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "a text": (CHAT, lambda said: {"messages": [{"role": "user", "content": said}]}),
    "parts": (CHAT, lambda said: {"messages": [{"role": "user", "content": _parts(said)}]}),
    "behind a system's text": (
        CHAT,
        lambda said: {"messages": [_system("Short."), {"role": "user", "content": said}]},
    ),
    "behind a system's parts": (
        CHAT,
        lambda said: {
            "messages": [_system(_parts("Short.")), {"role": "user", "content": _parts(said)}]
        },
    ),
    "Anthropic's, behind what all say": (
        "/v1/messages",
        lambda said: {
            "system": "Short.",
            "messages": [{"role": "user", "content": _parts("Always.", said)}],
        },
    ),
    "Ollama's": ("/api/chat", lambda said: {"messages": [{"role": "user", "content": said}]}),
    "a prompt": ("/v1/completions", lambda said: {"prompt": said}),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_turns_of_a_conversation_go_to_one_server(dialect: str, named: str) -> None:
    path, begun = DIALECTS[dialect]
    used = set()
    for number in range(12):
        servers = set()
        for turn in range(3):
            body = {"model": "m", **begun(f"Question {number}?"), "max_tokens": turn}
            for _ in range(turn if "messages" in body else 0):
                answer = {"role": "assistant", "content": "x" * 50_000}
                body["messages"] += [answer, {"role": "user", "content": "And then?"}]
            servers.add(httpx.post(f"{named}{path}", json=body).text)
        assert len(servers) == 1
        used |= servers
    assert len(used) > 1


def test_stored_responses_without_a_key_go_to_one_server(named: str) -> None:
    bodies = [{"input": f"Question {number}?"} for number in range(12)]
    assert len({httpx.post(f"{named}/v1/responses", json=body).text for body in bodies}) == 1
