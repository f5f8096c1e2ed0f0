"""Clients that leave, read slowly, or ask for too much at once; requests that take too long."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from cactus.server.endpoint import Ask, Endpoint, Reply, Stream, ndjson, sse
from cactus.server.errors import ApiError
from cactus.server.models import ServedModel
from cactus.server.openai.errors import DIALECT
from tests.server.running import Running, serving, until


class Word(Reply, kw_only=True):
    """One word."""

    word: str


class Log:
    """What the handlers below have seen."""

    def __init__(self) -> None:
        self.begun = self.cancelled = self.closed = self.made = 0
        self.go = False


LOG = Log()


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    LOG.__init__()  # type: ignore[misc]


async def _wait(_: Ask[Any]) -> Word:
    """Waits until the test lets it go."""
    LOG.begun += 1
    try:
        while not LOG.go:
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        LOG.cancelled += 1
        raise
    return Word(word="done")


async def _placed(ask: Ask[Any]) -> Word:
    async with ask.service.use(None, "chat"):
        return await _wait(ask)


async def _words(form: Literal["sse", "ndjson"], words: int, size: int = 0) -> AsyncIterator[bytes]:
    make = sse if form == "sse" else ndjson
    try:
        for n in range(words):
            LOG.made += 1
            yield make(Word(word=str(n) + "x" * size))
        while not LOG.go:
            await asyncio.sleep(0.01)
    finally:
        LOG.closed += 1


async def _stream(ask: Ask[Any]) -> Stream:
    form: Any = ask.request.query_params.get("form", "sse")
    return Stream(_words(form, 1), form)


async def _flood(_: Ask[Any]) -> Stream:
    return Stream(_words("sse", 100_000, 10_000))


async def _late_failure(_: Ask[Any]) -> Stream:
    async def events() -> AsyncIterator[bytes]:
        yield sse(Word(word="one"))
        raise ApiError(400, "it went wrong", code="late")

    return Stream(events())


async def _early_failure(_: Ask[Any]) -> Stream:
    async def events() -> AsyncIterator[bytes]:
        raise ApiError(400, "it went wrong", code="early")
        yield b""

    return Stream(events())


async def _bug(ask: Ask[Any]) -> Word:
    raise KeyError("a private text")


def _endpoint(name: str, handle: Any) -> Endpoint:
    return Endpoint("GET", f"/test/{name}", handle, DIALECT, name, reply=Word)


EXTRA = [
    _endpoint(*each)
    for each in (("wait", _wait), ("placed", _placed), ("stream", _stream), ("flood", _flood),
                 ("late", _late_failure), ("early", _early_failure), ("bug", _bug))
]  # fmt: skip


@pytest.fixture(scope="module")
def tried(tiny_model: Path) -> Iterator[Running]:
    """A server with the handlers above, small places and short patience."""
    with serving(
        tiny_model,
        extra=EXTRA,
        ping_seconds=0.05,
        write_seconds=0.5,
        max_running=2,
        max_waiting=2,
    ) as running:
        yield running


def ask_raw(server: Running, path: str) -> socket.socket:
    raw = server.connect()
    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return raw


def reset(raw: socket.socket) -> None:
    """End a connection in the hard way."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


@pytest.mark.fault("F59")
@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_a_client_that_leaves_before_the_first_byte_is_noticed(tried: Running, end: Any) -> None:
    before = tried.service.meter.cancelled
    raw = ask_raw(tried, "/test/wait")
    until(lambda: LOG.begun)
    end(raw)
    until(lambda: LOG.cancelled)
    until(lambda: tried.service.meter.cancelled == before + 1)


@pytest.mark.fault("F59")
@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_client_that_leaves_in_a_stream_is_noticed(tried: Running, form: str) -> None:
    raw = ask_raw(tried, f"/test/stream?form={form}")
    assert raw.recv(4096)
    raw.close()
    until(lambda: LOG.closed)


@pytest.mark.fault("F59")
def test_a_chat_that_nobody_waits_for_ends(tried: Running) -> None:
    before = tried.service.meter.cancelled
    body = {"messages": [{"role": "user", "content": "a" * 300}], "max_tokens": 400}
    data = json.dumps(body | {"stream": True}).encode()
    raw = tried.connect()
    raw.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: "
        + str(len(data)).encode()
        + b"\r\n\r\n"
        + data
    )
    raw.recv(1)
    reset(raw)
    until(lambda: tried.service.admission.running == 0)
    until(lambda: tried.service.served[0].users == 0)
    assert tried.service.meter.cancelled in (before, before + 1)  # it may have been quicker


def test_a_stream_without_news_is_pinged(tried: Running) -> None:
    with tried.client() as client, client.stream("GET", "/test/stream") as reply:
        lines = reply.iter_lines()
        assert next(lines) == 'data: {"word":"0"}'
        assert next(line for line in lines if line) == ": ping"
        LOG.go = True
        assert {line for line in lines if line} <= {": ping"}


@pytest.mark.fault("F60")
def test_a_slow_reader_is_sent_no_more_than_it_reads_and_then_nothing(tried: Running) -> None:
    raw = ask_raw(tried, "/test/flood")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    until(lambda: LOG.made)
    until(lambda: LOG.closed)
    assert LOG.made < 5000  # of 100,000: what the system's buffers hold
    raw.close()
    assert tried.ask("GET", "/health").status_code == 200


def test_a_failure_before_the_first_event_is_a_plain_error(tried: Running) -> None:
    reply = tried.ask("GET", "/test/early")
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "early"


def test_a_failure_in_a_stream_is_an_event(tried: Running) -> None:
    reply = tried.ask("GET", "/test/late")
    assert reply.status_code == 200
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data:")]
    assert events[0] == {"word": "one"}
    assert events[1]["error"]["code"] == "late"


@pytest.mark.fault("F79")
def test_what_nobody_foresaw_says_where_and_not_what(
    tried: Running, caplog: pytest.LogCaptureFixture
) -> None:
    reply = tried.ask("GET", "/test/bug")
    assert reply.status_code == 500
    assert "a private text" not in reply.text
    assert "KeyError" in caplog.text
    assert "_bug" in caplog.text
    assert "a private text" not in caplog.text


# -- a queue with an end


@pytest.mark.fault("F61")
def test_who_finds_no_place_is_told_when_to_come_again(tried: Running) -> None:
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(tried.ask, "GET", "/test/placed") for _ in range(2)]
        until(lambda: LOG.begun == 2)
        asked += [pool.submit(tried.ask, "GET", "/test/placed") for _ in range(2)]
        until(lambda: tried.service.admission.waiting == 2)
        refused = tried.ask("GET", "/test/placed")
        assert LOG.begun == 2
        LOG.go = True
        assert [each.result().status_code for each in asked] == [200] * 4
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert tried.service.admission.running == tried.service.admission.waiting == 0


@pytest.mark.fault("F61")
def test_who_leaves_the_queue_makes_room(tried: Running) -> None:
    held = [ask_raw(tried, "/test/placed") for _ in range(4)]
    until(lambda: tried.service.admission.waiting == 2)
    held.pop().close()
    until(lambda: tried.service.admission.waiting == 1)
    for raw in held:
        raw.close()
    until(lambda: tried.service.admission.running == 0)
    assert tried.service.admission.waiting == 0


@pytest.mark.parametrize("several", [{"prompt": "ab", "n": 6}, {"prompt": ["ab", "cd"], "n": 3}])
def test_each_answer_has_a_place_and_is_what_it_is_alone(
    server: Running, tried: Running, several: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {**several, "max_tokens": 8, "temperature": 1.5, "seed": 3}
    want = server.ask("POST", "/v1/completions", json=body).json()["choices"]
    now, most = 0, list[int]()
    before = ServedModel.acomplete

    async def seen(*given: Any, **options: Any) -> Any:
        nonlocal now
        now += 1
        most.append(now)
        try:
            return await before(*given, **options)
        finally:
            now -= 1

    monkeypatch.setattr(ServedModel, "acomplete", seen)
    assert tried.ask("POST", "/v1/completions", json=body).json()["choices"] == want
    assert (len(most), max(most)) == (6, 2)
    texts = [""] * 6
    for line in tried.ask("POST", "/v1/completions", json={**body, "stream": True}).iter_lines():
        for choice in json.loads(line[6:])["choices"] if line.startswith("data: {") else ():
            texts[choice["index"]] += choice["text"]
    assert texts == [each["text"] for each in want]
    assert tried.service.admission.running == 0


def test_who_waits_comes_before_a_further_answer(tried: Running) -> None:
    many = {"prompt": "ab", "n": 6, "max_tokens": 100, "temperature": 1.5, "stream": True}
    with tried.client() as client, client.stream("POST", "/v1/completions", json=many) as reply:
        lines = reply.iter_lines()
        next(lines)
        LOG.go = True
        assert tried.ask("GET", "/test/placed").status_code == 200  # both places are taken
        assert [line for line in lines if line][-1] == "data: [DONE]"


@pytest.mark.fault("F61")
def test_a_request_that_takes_too_long_is_ended(tiny_model: Path) -> None:
    with serving(tiny_model, extra=EXTRA, timeout_seconds=0.2) as hasty:
        reply = hasty.ask("GET", "/test/wait")
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "timeout"
        assert LOG.cancelled == 1
        streamed = hasty.ask("GET", "/test/stream")
        assert streamed.status_code == 200
        assert '"timeout"' in streamed.text
        assert LOG.closed == 1


# -- connections


@pytest.mark.fault("F60")
def test_idle_connections_keep_nobody_waiting(tiny_model: Path) -> None:
    with serving(tiny_model, max_connections=200, header_seconds=60.0) as crowded:
        idle = [crowded.connect() for _ in range(190)]
        assert crowded.ask("GET", "/health").status_code == 200
        idle += [crowded.connect() for _ in range(20)]
        refused = crowded.connect()
        answer = refused.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in answer
        for each in (*idle, refused):
            each.close()
        until(lambda: crowded_is_free(crowded))


def crowded_is_free(server: Running) -> bool:
    try:
        return server.ask("GET", "/health").status_code == 200
    except OSError:
        return False


@pytest.mark.fault("F60")
def test_requests_in_a_row_on_one_connection_are_answered_in_order(tried: Running) -> None:
    LOG.go = True
    with tried.connect() as raw:
        one = b"GET /test/wait HTTP/1.1\r\nHost: localhost\r\n\r\n"
        two = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        raw.sendall(one * 3 + two)
        data, end = b"", time.monotonic() + 30
        while time.monotonic() < end and (part := raw.recv(65536)):
            data += part
    assert data.count(b"HTTP/1.1 200 ") == 4
    assert data.index(b'"done"') < data.index(b'"ok"')


@pytest.mark.fault("F59")
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux shows its timers")
def test_a_peer_that_has_vanished_is_asked_after(tried: Running) -> None:
    def timer(raw: socket.socket) -> str:
        ends = [f":{raw.getpeername()[1]:04X}", f":{raw.getsockname()[1]:04X}"]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
                return fields[5]
        return ""

    with ask_raw(tried, "/test/wait") as raw:
        until(lambda: LOG.begun)
        assert timer(raw).startswith("02:")  # the system sends a probe when it ends
        LOG.go = True
