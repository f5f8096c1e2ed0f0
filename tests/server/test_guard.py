"""Who is let in: keys, names of the server, web pages, headers, paths and methods."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cactus.errors import InvalidRequest
from cactus.server.guard.keys import ADMIN, Keys, read_keys
from cactus.server.guard.origins import Hosts, Origins
from tests.server.running import Running, serving, until

KEY = "sk-test-0123456789"
OTHER = "sk-test-9876543210"
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def locked(tiny_model: Path) -> Iterator[Running]:
    """A server with two keys, one document origin and a name."""
    with serving(
        tiny_model,
        keys=(KEY, OTHER),
        allow_hosts=("models.example",),
        allow_origins=("https://chat.example",),
    ) as running:
        yield running


def error_of(reply: httpx.Response) -> dict[str, Any]:
    """The error in OpenAI's shape."""
    assert reply.headers["content-type"] == "application/json"
    found = reply.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return dict(found)


# -- keys


@pytest.mark.fault("F83")
def test_without_a_key_nobody_is_let_in(locked: Running) -> None:
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"),
                         ("GET", "/metrics"), ("POST", "/cactus/stop")):  # fmt: skip
        reply = locked.ask(method, path, json=CHAT if method == "POST" else None)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert error_of(reply)["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {OTHER}"},
        {"X-Api-Key": KEY},
    ],
)
def test_a_key_lets_in_as_bearer_or_in_a_header(locked: Running, headers: dict[str, str]) -> None:
    assert locked.ask("POST", "/v1/chat/completions", json=CHAT, headers=headers).status_code == 200


@pytest.mark.fault("F83")
@pytest.mark.parametrize("key", [KEY[:-1], KEY + "x", KEY.upper(), "é" * 9])
def test_another_key_does_not(locked: Running, key: str) -> None:
    header = f"Bearer {key}".encode()
    reply = locked.ask("GET", "/v1/models", headers={"Authorization": header})
    assert reply.status_code == 401
    assert key not in reply.text


def test_whether_it_is_there_is_said_without_a_key(locked: Running) -> None:
    for path in ("/health", "/live", "/ready", "/openapi.json", "/"):
        assert locked.ask("GET", path).status_code == 200
    status = locked.ask("GET", "/cactus/status").json()
    assert status["needs_key"] is True
    assert status["models"] == []
    known = locked.ask("GET", "/cactus/status", headers={"X-Api-Key": KEY}).json()
    assert [model["id"] for model in known["models"]] == ["tiny"]


@pytest.mark.fault("F79")
def test_each_key_is_a_tenant_and_its_name_says_nothing_of_it() -> None:
    keys = Keys([KEY, OTHER], token="of-the-state-file")
    one, two = keys.tenant([KEY]), keys.tenant([OTHER])
    assert one and two and one != two
    assert keys.tenant(["unknown", KEY]) == one
    assert keys.tenant([]) is keys.tenant(["unknown"]) is None
    assert keys.tenant(["of-the-state-file"]) == ADMIN
    assert Keys([KEY]).tenant([KEY]) != one  # it cannot be found by trying keys elsewhere
    assert KEY not in repr(vars(keys))


@pytest.mark.fault("F79")
def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return one == two

    monkeypatch.setattr("cactus.server.guard.keys.compare_digest", compare)
    keys = Keys([KEY, OTHER, "third-of-them"])
    keys.tenant([KEY])
    assert len(compared) == 3
    assert {len(each) for pair in compared for each in pair} == {64}


@pytest.mark.fault("F79")
def test_keys_come_from_a_file_the_environment_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n  {OTHER}  \n")
    monkeypatch.setenv("CACTUS_API_KEYS", "from-env-one, from-env-two")
    assert read_keys(file, [KEY, "an-option"]) == (
        KEY, "an-option", "from-env-one", "from-env-two", OTHER,
    )  # fmt: skip
    for text, told in (("short", "8"), ("with space in it", "spaces"), ("schlüssel-key", "ASCII")):
        file.write_text(text)
        with pytest.raises(InvalidRequest) as failed:
            read_keys(file)
        assert told in str(failed.value)
        assert text not in str(failed.value)
    file.write_text("# none\n")
    monkeypatch.delenv("CACTUS_API_KEYS")
    with pytest.raises(InvalidRequest, match="no key"):
        read_keys(file)


@pytest.mark.fault("F83")
def test_admin_is_off_where_everybody_may_call(tiny_model: Path) -> None:
    with serving(tiny_model, host="0.0.0.0", insecure=True) as open_to_all:
        reply = open_to_all.ask("POST", "/cactus/unload", json={"model": "tiny"})
        assert reply.status_code == 403
        assert error_of(reply)["code"] == "admin_not_allowed"
        assert open_to_all.ask("POST", "/v1/chat/completions", json=CHAT).status_code == 200


@pytest.mark.fault("F83")
def test_only_keys_of_administrators_change_the_server_and_see_what_all_use(
    tiny_model: Path,
) -> None:
    admin = "sk-test-of-the-admin"
    asked = (("POST", "/cactus/unload", {"model": "tiny"}), ("POST", "/cactus/stop", {}),
             ("GET", "/metrics", None), ("DELETE", "/api/delete", {"model": "tiny"}),
             ("POST", "/api/pull", {"model": "a/b"}))  # fmt: skip
    with serving(tiny_model, keys=(KEY, admin), admin_keys=(admin,)) as mixed:
        for method, path, body in asked:
            reply = mixed.ask(method, path, json=body, headers={"X-Api-Key": KEY})
            assert reply.status_code == 403
            assert "--admin-key-file" in reply.text
        assert mixed.service.served and not mixed.service.stopping.is_set()
        assert mixed.ask("GET", "/metrics").status_code == 401
        for method, path, body in (asked[0], asked[2]):
            reply = mixed.ask(method, path, json=body, headers={"X-Api-Key": admin})
            assert reply.status_code == 200


# -- names and pages


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:99", "10.1.2.3", "a.localhost"]
)
def test_it_answers_to_addresses_and_names_of_this_machine(server: Running, host: str) -> None:
    assert server.ask("GET", "/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.fault("F81")
@pytest.mark.parametrize(
    "host", ["attacker.example", "localhost.attacker.example", "127.0.0.1.nip.io", "x", ""]
)
def test_a_name_that_somebody_else_points_here_is_refused(server: Running, host: str) -> None:
    reply = server.ask("GET", "/v1/models", headers={"Host": host})
    assert reply.status_code == 403
    assert error_of(reply)["code"] == "host_not_allowed"


def test_a_name_that_was_allowed_is_answered(locked: Running) -> None:
    headers = {"Host": "models.example:443", "X-Api-Key": KEY}
    assert locked.ask("GET", "/v1/models", headers=headers).status_code == 200


@pytest.mark.fault("F81")
@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5"])
def test_pages_of_this_machine_may_call(server: Running, origin: str) -> None:
    reply = server.ask("POST", "/v1/chat/completions", json=CHAT, headers={"Origin": origin})
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == origin
    assert "Origin" in reply.headers["vary"]
    assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.fault("F81")
@pytest.mark.parametrize(
    "origin",
    ["https://attacker.example", "null", "http://localhost.attacker.example", "file://",
     "http://localhost@attacker.example", "chrome-extension://abc", "javascript:1"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_pages_may_not(server: Running, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    reply = server.ask(method, "/v1/chat/completions", headers=headers)
    assert reply.status_code == 403
    assert error_of(reply)["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.fault("F81")
def test_a_page_that_was_allowed_may_call_and_is_told_so_before(locked: Running) -> None:
    origin = "https://chat.example"
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    reply = locked.ask("OPTIONS", "/v1/chat/completions", headers=asks)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == origin
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert "authorization" in reply.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in reply.headers
    refused = locked.ask("GET", "/v1/models", headers={"Origin": origin})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == origin  # the page can read why


@pytest.mark.fault("F81")
def test_what_any_means() -> None:
    assert Hosts("0.0.0.0", ["*"]).allows("attacker.example")
    assert Origins(["*"]).allows("null", None)
    assert not Origins([]).allows("https://a.example", "b.example")
    assert Origins([]).allows("https://a.example:8", "a.example:8")


# -- headers, paths and methods


@pytest.mark.fault("F60")
def test_too_many_headers_are_refused(server: Running) -> None:
    many = {f"X-Header-{n}": "x" for n in range(300)}
    reply = server.ask("GET", "/v1/models", headers=many)
    assert reply.status_code == 431
    assert error_of(reply)["code"] == "headers_too_large"


@pytest.mark.fault("F60")
@pytest.mark.parametrize("size", [70_000, 200_000, 1 << 20])
def test_long_headers_are_refused(server: Running, size: int) -> None:
    with server.connect() as raw:
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with suppress(OSError):  # it is answered before all is sent
            raw.sendall(b"x" * size + b"\r\n\r\n")
        status, _, body = read_reply(raw)
    assert status == 431
    assert "headers" in json.loads(body)["error"]["message"]


def read_reply(raw: Any) -> tuple[int, bytes, bytes]:
    """Status, head and body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += raw.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    assert length is not None
    while len(body) < int(length[1]):
        body += raw.recv(65536)
    return int(head.split(b" ")[1]), head, body


@pytest.mark.fault("F60")
@pytest.mark.parametrize("line", [b"GARBAGE", b"GET\x00/ HTTP/1.1", b"\x16\x03"])
def test_what_is_not_http_is_refused_in_json(server: Running, line: bytes) -> None:
    with server.connect() as raw:
        raw.sendall(line + b"\r\n\r\n")
        status, head, body = read_reply(raw)
    assert status == 400
    assert b"application/json" in head
    assert json.loads(body)["error"]["code"] == "invalid_request"


@pytest.mark.fault("F60")
def test_a_body_with_two_ends_is_refused_and_nothing_behind_it_answered(server: Running) -> None:
    with server.connect() as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        answers = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.fault("F60")
def test_a_post_that_asks_for_a_websocket_is_a_post(server: Running) -> None:
    reply = server.ask(
        "POST", "/tokenize", json={"content": "a"},
        headers={"Connection": "Upgrade", "Upgrade": "websocket"},
    )  # fmt: skip
    assert reply.json()["count"] == 1


@pytest.mark.fault("F85")
@pytest.mark.parametrize(
    "path", ["/v1/models", "/models", "//v1//models", "/v1/models/", "/v1/v1/models", "///models//"]
)
def test_a_path_is_found_as_people_write_it(server: Running, path: str) -> None:
    assert server.ask("GET", path).json()["object"] == "list"


@pytest.mark.fault("F85")
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://127.0.0.1:8080/v1/models?x=1", "127.0.0.1:8080", 200),
        ("HTTP://LOCALHOST/models", "attacker.example", 200),
        ("https://localhost", "localhost", 200),
        ("http://attacker.example/v1/models", "localhost", 403),
        ("http://localhost@attacker.example/v1/models", "localhost", 403),
        ("ftp://localhost/v1/models", "localhost", 404),
    ],
)
def test_a_target_with_an_address_is_its_path(
    server: Running, target: str, host: str, status: int
) -> None:
    with server.connect() as raw:
        raw.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        got, _, body = read_reply(raw)
    assert got == status
    assert (b'"object":"list"' in body) == (status == 200 and "models" in target)


@pytest.mark.fault("F85")
@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v3", "/v1/", "/\\", "/%00"])
def test_an_unknown_path_is_an_error_in_json(server: Running, path: str) -> None:
    reply = server.ask("GET", path)
    assert reply.status_code == 404
    assert error_of(reply)["code"] == "not_found"


@pytest.mark.fault("F85")
def test_methods_that_a_path_lacks_are_refused_and_named(server: Running) -> None:
    for method in ("GET", "TRACE", "PUT", "PATCH", "DELETE", "HEAD", "PROPFIND"):
        reply = server.ask(method, "/v1/chat/completions")
        assert reply.status_code == 405
        assert reply.headers["allow"] == "OPTIONS, POST"
        if method != "HEAD":
            assert error_of(reply)["code"] == "method_not_allowed"
    asked = server.ask("OPTIONS", "/v1/models")
    assert asked.status_code == 204
    assert asked.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.fault("F85")
def test_a_head_is_a_get_without_a_body(server: Running) -> None:
    for path in ("/v1/models", "/health", "/"):
        reply = server.ask("HEAD", path)
        assert reply.status_code == 200
        assert reply.content == b""
        assert int(reply.headers["content-length"]) > 0


# -- ids and the log


def test_an_id_of_the_client_comes_back_and_others_are_made(server: Running) -> None:
    given = server.ask("GET", "/health", headers={"X-Request-Id": "mine-1.2:3"})
    assert given.headers["x-request-id"] == "mine-1.2:3"
    made = {server.ask("GET", "/health").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for bad in ("two words", "x" * 200, "<script>"):
        reply = server.ask("GET", "/nothing", headers={"X-Request-Id": bad})
        assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.fault("F79", "F80")
def test_the_log_has_neither_texts_nor_keys(
    locked: Running, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "a very private question"
    body = {"messages": [{"role": "user", "content": secret}], "max_tokens": 2}
    with caplog.at_level(logging.DEBUG, "cactus"):
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "seen-in-log"}
        locked.ask("POST", "/v1/chat/completions?key=in-a-query", json=body, headers=headers)
        locked.ask("GET", f"/{KEY}/in-a-path")
        locked.ask("POST", "/v1/chat/completions", json={"messages": secret}, headers=headers)
        until(lambda: "POST /v1/chat/completions 400" in caplog.text)
    assert "POST /v1/chat/completions 200" in caplog.text
    assert "seen-in-log" in caplog.text
    for hidden in (secret, KEY, "in-a-query", "in-a-path"):
        assert hidden not in caplog.text


# -- WebSockets


@pytest.mark.fault("F81")
def test_a_socket_passes_the_same_guard(locked: Running) -> None:
    address = f"ws://127.0.0.1:{locked.port}/v1/nothing"
    packed = base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    for expected, options in (
        (401, {}),
        (401, {"additional_headers": {"Authorization": "Bearer unknown-key"}}),
        (403, {"origin": "https://attacker.example"}),
        (404, {"additional_headers": {"Authorization": f"Bearer {KEY}"}}),
        (404, {"subprotocols": ["realtime", f"cactus-key.{packed}"]}),
        (404, {"subprotocols": ["realtime", f"openai-insecure-api-key.{KEY}"]}),
    ):
        with pytest.raises(InvalidStatus) as refused, connect(address, **options):  # type: ignore[arg-type]
            pass
        assert refused.value.response.status_code == expected
        assert json.loads(refused.value.response.body)["error"]["message"]


def test_a_socket_that_is_refused_is_no_failure_of_the_server(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cactus"):
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{server.port}/v1/realtime?intent=conversation").close()
        until(lambda: "/v1/realtime" in caplog.text)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
