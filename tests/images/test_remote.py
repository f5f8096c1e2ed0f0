"""Images from addresses: fetched only when allowed, only from public hosts, and within limits."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest
import trustme

from cactus.errors import InvalidImage
from cactus.images import remote
from cactus.images.door import load, measure
from cactus.images.picture import Limits, Picture, Policy
from tests.images.made import picture, save, scene

PNG = save(picture(13, 7), "PNG")
HERE = ipaddress.ip_address("127.0.0.1")
Respond = Callable[["Handler"], None]

pytestmark = pytest.mark.timeout(60)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        with suppress(OSError):
            self.server.pages[self.path.partition("?")[0]](self)

    def answer(self, body: bytes, status: int = 200, **headers: Any) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        self.pages: dict[str, Respond] = {"/a.png": lambda handler: handler.answer(PNG)}

    def handle_error(self, *_: object) -> None:
        """A client that has heard enough is no error."""

    def url(self, path: str = "/a.png", scheme: str = "http", host: str = "pictures.test") -> str:
        return f"{scheme}://{host}:{self.server_address[1]}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(30)


class Names:
    """A name service: `pictures.test` is here, and every name is looked up in the list."""

    def __init__(self) -> None:
        self.known: dict[str, list[list[str]]] = {"pictures.test": [["127.0.0.1"]]}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *more: Any, **options: Any) -> list[Any]:
        """For the whole process: who connects to an address looks that up, too."""
        if host != "127.0.0.1":
            self.asked.append(host)
        answers = self.known.get(host)
        if answers is None:
            if host.endswith((".test", ".example")):
                raise socket.gaierror("unknown")
            return self._real(host, port, *more, **options)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ipaddress.ip_address(each).version], socket.SOCK_STREAM, 6, "", (each, port))
            for each in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """127.0.0.1, and nothing else of this machine, counts as public."""
    names = Names()
    monkeypatch.setattr(remote.socket, "getaddrinfo", names.getaddrinfo)
    real = remote.is_public
    monkeypatch.setattr(remote, "is_public", lambda each: each == HERE or real(each))
    return names


def get(url: str, limits: Limits | None = None) -> Picture:
    return load(url, limits, Policy(urls=True))


@pytest.mark.fault("F41")
def test_an_image_is_fetched_from_the_address_that_was_looked_up(
    server: Server, names: Names
) -> None:
    assert np.array_equal(get(server.url("/a.png?size=1&key=secret")).pixels, scene(13, 7))
    host = f"pictures.test:{server.server_address[1]}"
    assert server.asked == [(host, "/a.png?size=1&key=secret")]
    assert names.asked == ["pictures.test"]
    assert measure(server.url(), policy=Policy(urls=True)) == (13, 7)


@pytest.mark.fault("F41")
def test_nothing_is_looked_up_or_asked_where_it_is_not_allowed(
    server: Server, names: Names
) -> None:
    for door in (load, measure):
        with pytest.raises(InvalidImage, match="not allowed here"):
            door(server.url())
    assert not server.asked and not names.asked


@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "172.16.5.4"),
        *("0x7f.1", "0x7f000001", "2130706433", "127.1", "0177.0.0.1", "0", "0.0.0.0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1]", "[fd00::1]"),
        *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[ff02::1]", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "198.18.0.1", "１２７.０.０.１", "127。0。0。1"),
    ],
)
def test_no_spelling_of_a_private_address_is_asked(host: str, server: Server) -> None:
    with pytest.raises(InvalidImage, match=r"private network|cannot be fetched|not known"):
        get(server.url(host=host))
    assert not server.asked


def test_public_addresses_are_known_from_others() -> None:
    for address in ("1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"):
        assert remote.is_public(ipaddress.ip_address(address)), address
    for address in ("2001:0:7f00:1::80ff:fffe", "2001:db8::1", "192.0.2.1", "fec0::1"):
        assert not remote.is_public(ipaddress.ip_address(address)), address


@pytest.mark.fault("F41")
def test_a_name_that_leads_to_private_addresses_too_is_refused(
    server: Server, names: Names
) -> None:
    names.known["rebound.test"] = [["127.0.0.1", "127.0.0.2"]]
    names.known["mapped.test"] = [["::ffff:10.0.0.1"]]
    for host in ("rebound.test", "mapped.test"):
        with pytest.raises(InvalidImage, match="private network"):
            get(server.url(host=host))
    assert not server.asked


@pytest.mark.fault("F41")
def test_a_name_that_is_bound_anew_is_not_looked_up_again(server: Server, names: Names) -> None:
    names.known["rebound.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    assert get(server.url(host="rebound.test")).width == 13
    assert names.asked == ["rebound.test"]
    with pytest.raises(InvalidImage, match="private network"):
        get(server.url(host="rebound.test"))


def test_a_second_address_is_tried_where_the_first_refuses(server: Server, names: Names) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    with pytest.raises(InvalidImage, match="cannot be fetched"):
        get(f"http://pictures.test:{port}/a.png")
    names.known["two.test"] = [["127.0.0.1", "127.0.0.1"]]
    assert get(server.url(host="two.test")).width == 13


def redirect(target: str, status: int = 302) -> Respond:
    return lambda handler: handler.answer(b"", status, Location=target)


@pytest.mark.fault("F41")
def test_redirects_are_followed_and_looked_up_each(server: Server, names: Names) -> None:
    names.known["other.test"] = [["127.0.0.1"]]
    server.pages["/moved"] = redirect("/a/../moved-again", 301)
    server.pages["/moved-again"] = redirect(server.url("/a.png", host="other.test"), 308)
    assert get(server.url("/moved")).width == 13
    assert names.asked == ["pictures.test", "pictures.test", "other.test"]


@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", "private network"),
        ("http://127.0.0.2/a.png", "private network"),
        ("//[::1]/a.png", "private network"),
        ("file:///etc/passwd", "file: addresses are not read"),
        ("ftp://pictures.test/a.png", "ftp: addresses are not read"),
        ("gopher://pictures.test/a.png", "gopher: addresses are not read"),
        ("data:/png;base64,AAAA", "data: addresses are not read"),
        ("http://user:secret@pictures.test/a.png", "user or password"),
        ("http://unknown.test/", "is not known"),
        ("http://:80/", "no host|cannot be fetched"),
        ("/round", "more than 5 times"),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(
    target: str, words: str, server: Server, names: Names
) -> None:
    server.pages["/round"] = redirect(target)
    with pytest.raises(InvalidImage, match=words) as caught:
        get(server.url("/round?key=secret"))
    assert "secret" not in str(caught.value)


@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user@pictures.test/a.png", "user or password"),
        ("https://user:secret@pictures.test/a.png", "user or password"),
        ("http:///a.png", "no host|cannot be fetched"),
        ("http://", "no host|cannot be fetched"),
        ("http://a\nb/", "cannot be fetched|not known"),
        ("http://pictures.test:99999/", "cannot be fetched"),
        ("http://" + "a" * 300 + ".example/", "not known|cannot be fetched"),
        ("http://[::1/", "cannot be fetched"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, words: str, names: Names) -> None:
    with pytest.raises(InvalidImage, match=words) as caught:
        get(url)
    assert "secret" not in str(caught.value)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


@pytest.mark.fault("F41")
def test_a_body_beyond_the_limit_is_not_read(server: Server, names: Names) -> None:
    server.pages["/claims"] = lambda handler: handler.answer(b"", Content_Length=10 << 30)
    server.pages["/endless"] = endless
    with pytest.raises(InvalidImage, match="10,737,418,240 bytes; at most 100,000"):
        get(server.url("/claims"), Limits(file_bytes=100_000))
    with pytest.raises(InvalidImage, match="more than 100,000 bytes"):
        get(server.url("/endless"), Limits(file_bytes=100_000))


def dribble(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        handler.wfile.write(b"X-Header: more\r\n")
        time.sleep(0.02)


def dribble_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        time.sleep(0.02)


@pytest.mark.fault("F41")
@pytest.mark.parametrize("respond", [dribble, dribble_body])
def test_a_server_that_never_ends_is_left(
    respond: Respond, server: Server, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SECONDS", 0.3)
    server.pages["/slow"] = respond
    with pytest.raises(InvalidImage, match="no whole image in"):
        get(server.url("/slow"))
    deadline = time.monotonic() + 20
    while any(thread.name == "cactus-image" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread goes on"
        time.sleep(0.01)


@pytest.mark.fault("F41")
def test_a_name_service_that_never_answers_is_left(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        answered.wait(30)
        raise socket.gaierror("at last")

    monkeypatch.setattr(remote, "SECONDS", 0.2)
    monkeypatch.setattr(remote.socket, "getaddrinfo", hang)
    try:
        with pytest.raises(InvalidImage, match="no whole image in"):
            get("http://pictures.test/a.png")
    finally:
        answered.set()


def broken(handler: Handler) -> None:
    handler.answer(PNG[:50], Content_Length=99)
    handler.close_connection = True


def test_what_comes_has_to_be_an_image(server: Server, names: Names) -> None:
    pages: dict[str, tuple[Respond, str]] = {
        "/page": (lambda handler: handler.answer(b"<html>", Content_Type="image/png"), "web page"),
        "/none": (lambda handler: handler.answer(b"no", 404), "answers 404"),
        "/empty": (lambda handler: handler.answer(b""), "is empty"),
        "/zip": (
            lambda handler: handler.answer(gzip.compress(PNG), Content_Encoding="gzip"),
            "a gzip archive",
        ),
        "/cut": (lambda handler: handler.answer(PNG[:-30]), "cut off|cannot be decoded"),
        "/break": (broken, "cannot be fetched"),
    }
    for path, (respond, words) in pages.items():
        server.pages[path] = respond
        with pytest.raises(InvalidImage, match=words):
            get(server.url(path))


def test_certificates_are_checked_for_the_name_and_not_the_address(
    server: Server, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.test").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with pytest.raises(InvalidImage, match=r"cannot be fetched.*certificate"):
        get(server.url(scheme="https"))

    def trusting() -> ssl.SSLContext:
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return client

    monkeypatch.setattr(remote, "tls_context", trusting)
    assert get(server.url(scheme="https")).width == 13
    names.known["other.test"] = [["127.0.0.1"]]
    with pytest.raises(InvalidImage, match=r"cannot be fetched.*certificate"):
        get(server.url(scheme="https", host="other.test"))


def test_proxies_of_the_environment_are_not_used(
    server: Server, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert get(server.url()).width == 13


@pytest.mark.fault("F79")
def test_names_in_messages_hold_no_secret() -> None:
    url = httpx.URL("https://user:secret@pictures.test/a.png?key=secret#secret")
    assert remote.named(url) == '"https://pictures.test/a.png"'
