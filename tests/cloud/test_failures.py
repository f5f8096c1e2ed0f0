"""Every way in which a question to a cloud fails: each has a code, and none shows the key."""

from __future__ import annotations

import logging
import socket
import threading
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from cactus import Cloud
from tests.cloud.asking import TOOLS, asked, begin, ended
from tests.cloud.conftest import cloud_of
from tests.cloud_server import (
    KEY,
    Behaviour,
    CloudServer,
    delta,
    drips,
    event,
    hangs,
    hangs_up,
    refuses,
    reply,
    resets,
    resets_when_heard,
    says,
    sends,
    serve,
    streams,
    tells,
)

HTML = b"<html><body>Please log in</body></html>"
LEAKS = refuses(401, f"Incorrect API key provided: {KEY}\x1b[31m\nERROR fake line " + "x" * 999)


def sse(*events: bytes) -> Behaviour:
    return sends(b"".join(events), kind="text/event-stream")


FAILURES: dict[str, tuple[str, Behaviour, int]] = {
    "no such key": ("http_401", LEAKS, 1),
    "forbidden": ("http_403", refuses(403), 1),
    "no such model": ("http_404", refuses(404, "model not found"), 1),
    "bad request": ("http_400", sends(HTML, 400, "text/html"), 1),
    "too many": ("http_429", refuses(429, Retry_After="0"), 3),
    "too many for long": ("http_429", refuses(429, Retry_After="3600"), 1),
    "broken": ("http_500", refuses(500), 3),
    "bad gateway": ("http_502", sends(HTML, 502, "text/html"), 3),
    "unavailable": ("http_503", refuses(503), 3),
    "overloaded": ("http_529", refuses(529), 3),
    "reset": ("reset", resets, 3),
    "hangs up": ("reset", hangs_up, 3),
    "half a JSON": ("bad_reply", sends(reply("whole")[:-9]), 1),
    "half a body": (
        "reset",
        lambda to: (to.begin_stream("application/json"), to.wfile.write(b"{"), to.reset())[0],
        3,
    ),
    "wrong schema": ("bad_reply", sends(b'{"answer": "yes"}'), 1),
    "a list": ("bad_reply", sends(b"[]"), 1),
    "text as a number": ("bad_reply", sends(b'{"choices": [{"message": {"content": 5}}]}'), 1),
    "deep": ("bad_reply", sends(b"[" * 100_000), 1),
    "empty choices": ("bad_reply", sends(b'{"choices": []}'), 1),
    "empty text": ("empty", says(""), 3),
    "HTML": ("bad_reply", sends(HTML, kind="text/html"), 1),
    "nothing": ("bad_reply", sends(b""), 1),
    "not UTF-8": ("bad_reply", sends(b'{"choices": "\xff"}'), 1),
    "an error that says 200": ("error", sends(b'{"error": {"message": "busy"}}'), 1),
    "a tool that is not there": ("bad_reply", says(None, [("rm", "{}")], "tool_calls"), 1),
    "broken arguments": ("bad_reply", says(None, [("clock", '{"a')], "tool_calls"), 1),
    "filtered": ("refused", says("no", reason="content_filter"), 1),
    "elsewhere": ("redirect", refuses(307, Location="https://example.com/v1"), 1),
    "elsewhere, plainly": ("redirect", refuses(301, Location="http://localhost/v1"), 1),
    "cut stream": ("reset", sse(delta(content=""), delta(role="assistant")), 3),
    "broken stream": ("bad_reply", sse(b"data: {\n\n"), 1),
    "an error in a stream": ("error", sse(event({"error": {"message": "overloaded"}})), 1),
    "a stream of bytes": ("bad_reply", sse(b"data: \xff\xfe\n\n"), 1),
    "broken encoding": ("bad_reply", sends(b"no gzip", Content_Encoding="gzip"), 1),
}


@pytest.mark.fault("F76", "F77")
@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("streamed", [False, True])
def test_every_failure_has_a_code_and_no_key(
    server: CloudServer,
    cloud: Cloud,
    caplog: pytest.LogCaptureFixture,
    name: str,
    streamed: bool,
) -> None:
    code, behaviour, tries = FAILURES[name]
    server.behave(behaviour)
    with caplog.at_level(logging.DEBUG):
        text, reply = asked(cloud, streamed=streamed, tools=TOOLS)
    assert reply.error is not None and reply.error.code == code, reply.error
    assert text == "" and reply.function_calls == ()
    assert len(server.received) == tries
    error = reply.error
    assert error.__cause__ is None and error.__context__ is None and error.__traceback__ is None
    shown = [repr(error), str(error), repr(reply), caplog.text]
    assert not any(KEY in text for text in shown)
    assert str(error).isprintable() and len(str(error)) < 500
    ours = [record.getMessage() for record in caplog.records if record.name == "cactus.cloud"]
    assert ours and all(line.isprintable() for line in ours)


@pytest.mark.fault("F77")
@pytest.mark.parametrize("after", ["0", formatdate(0)])
@pytest.mark.parametrize("first", [429, 503, 529])
def test_a_busy_service_is_asked_again(
    server: CloudServer, cloud: Cloud, first: int, after: str
) -> None:
    server.behave(refuses(first, Retry_After=after), resets, says("at last"))
    assert asked(cloud)[0] == "at last"
    assert len(server.received) == 3


@pytest.mark.fault("F77")
def test_the_service_says_when_to_come_again(
    server: CloudServer, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("cactus.cloud.connection.asyncio.sleep", sleep)
    server.behave(refuses(429, Retry_After="7"), refuses(503), says("at last"))
    assert asked(cloud)[0] == "at last"
    first, second = (seconds for seconds in waits if seconds)
    assert first == 7 and 0.75 * 0.02 <= second <= 1.25 * 0.02  # twice the first pause, about


@pytest.mark.fault("F77")
def test_nothing_is_tried_again_once_text_was_given_on(server: CloudServer, cloud: Cloud) -> None:
    server.behave(streams(delta(content="half an "), then=resets_when_heard), says("whole"))
    exchange, news = begin(cloud, streamed=True)
    assert news.wait(10)
    text = exchange.take()
    server.heard.set()
    _, reply = ended(exchange, news)
    assert (text, reply.error and reply.error.code) == ("half an ", "reset")
    assert len(server.received) == 1
    # Where nobody has seen it, it is.
    server.behave(streams(delta(content="half an "), then=resets), says("whole"))
    text, reply = asked(cloud)
    assert (text, reply.error) == ("whole", None)


@pytest.mark.fault("F77")
@pytest.mark.parametrize(
    ("limits", "behaviour", "words"),
    [
        ({"read_timeout": 0.1}, hangs, "said nothing for 0.1 s"),
        ({"total_timeout": 0.2}, drips, "no whole answer in 0.2 s"),
        ({"total_timeout": 0.2}, hangs, "no whole answer in 0.2 s"),
        ({"total_timeout": 0.3}, tells(*"slowly", pause=0.1), "no whole answer"),
    ],
)
def test_no_service_can_make_it_wait_longer(
    server: CloudServer, limits: dict[str, float], behaviour: Behaviour, words: str
) -> None:
    server.behave(behaviour)
    _, reply = asked(cloud_of(server, **limits))
    assert reply.error is not None and reply.error.code == "timeout"
    assert words in str(reply.error) and len(server.received) <= 1


@pytest.mark.fault("F77")
def test_a_connection_that_nobody_answers_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it speaks no TLS
        port = deaf.getsockname()[1]
        cloud = Cloud(KEY, f"https://localhost:{port}/v1", "m", connect_timeout=0.1)
        _, reply = asked(cloud)
    assert reply.error is not None and reply.error.code == "timeout"


@pytest.mark.fault("F77")
def test_a_reply_without_end_is_left_alone(
    server: CloudServer, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cactus.cloud.connection.MAX_REPLY", 100_000)

    def endless(kind: str) -> Behaviour:
        def behave(to: Any) -> None:
            to.begin_stream(kind)
            while not to.cloud.over.is_set():
                to.wfile.write(b"x" * 10_000)

        return behave

    for kind in ("application/json", "text/event-stream"):
        server.behave(endless(kind))
        _, reply = asked(cloud)
        assert reply.error is not None and reply.error.code == "too_long"


@pytest.mark.fault("F77")
def test_a_certificate_of_somebody_else_is_refused(server: CloudServer, tmp_path: Path) -> None:
    stranger = Cloud(KEY, server.url, "large")  # it knows only the authorities of the system
    _, reply = asked(stranger)
    assert reply.error is not None and reply.error.code == "tls"
    assert "not trusted" in str(reply.error) and server.received == []
    with serve(tmp_path, name="example.com") as other:
        other.behave(says("stolen"))
        _, reply = asked(cloud_of(other))
        assert reply.error is not None and reply.error.code == "tls"
        assert other.received == []


def test_an_own_authority_may_come_from_the_environment(
    server: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    assert asked(Cloud(KEY, server.url, "large"))[0] == "from the cloud"


def test_certificates_that_are_not_there_are_an_error_of_their_own(server: CloudServer) -> None:
    _, reply = asked(Cloud(KEY, server.url, "large", certificates="/nowhere/ca.pem"))
    assert reply.error is not None and reply.error.code == "tls"
    assert "/nowhere/ca.pem" in str(reply.error)


def test_what_speaks_no_tls_gets_no_key() -> None:
    heard = b""
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def listen() -> None:
            nonlocal heard
            connection, _ = plain.accept()
            with connection:
                heard = connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=listen)
        thread.start()
        _, reply = asked(Cloud(KEY, f"https://localhost:{plain.getsockname()[1]}", "m"))
        thread.join(5)
    assert reply.error is not None and reply.error.code == "tls"
    assert heard and KEY.encode() not in heard


@pytest.mark.fault("F77")
def test_no_network_and_no_such_host_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    _, reply = asked(Cloud(KEY, f"https://localhost:{port}/v1", "m"))
    assert reply.error is not None and reply.error.code == "connect"

    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    _, reply = asked(Cloud(KEY, "https://nowhere.example/v1", "m"))
    assert reply.error is not None and reply.error.code == "dns"
    assert "nowhere.example is not known" in str(reply.error)
