"""Bodies that are too large, too deep, too slow, or something else than they say."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from starlette.datastructures import UploadFile

from cactus.server.body import MAX_DEPTH, MOST_VALUES, check_form, decode
from cactus.server.endpoint import Ask, Endpoint, Reply
from cactus.server.errors import ApiError
from cactus.server.large import LONG, Decoder
from cactus.server.openai.errors import DIALECT
from tests.server.running import Running, serving, until

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
PATH = "/v1/chat/completions"


def post(server: Running, body: Any, kind: str | None = "application/json") -> httpx.Response:
    headers = {} if kind is None else {"Content-Type": kind}
    return server.ask("POST", PATH, content=body, headers=headers)


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    found = reply.json()["error"]
    assert found["code"] == code
    return dict(found)


@pytest.mark.fault("F27")
@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"{", b"nonsense", b'{"messages": NaN}', b'{"x": Infinity}', b'{"x": -Infinity}',
     b"{'messages': []}", b'{"messages": [],}', b'{"a": "\xff\xfe"}',
     b'{"messages": [{"content": "\\ud800"}]}',
     json.dumps(CHAT).encode("utf-16"), b'{"a": 1} {"b": 2}', b"\x00"],
)  # fmt: skip
def test_what_is_not_json_is_refused(server: Running, body: bytes) -> None:
    assert "JSON" in refused(post(server, body), 400, "invalid_json")["message"]


@pytest.mark.fault("F27")
@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true"])
def test_json_that_is_not_an_object_is_refused(server: Running, body: bytes) -> None:
    assert "object" in refused(post(server, body), 400, "invalid_type")["message"]


def test_a_value_that_is_none_of_several_is_not_given_back_as_a_whole(server: Running) -> None:
    body = {"messages": [{"role": "x" * 9000, "content": "Hi"}]}
    found = refused(post(server, json.dumps(body)), 400, "invalid_type")
    assert found["param"].startswith("messages[0]") and 20 < len(found["message"]) < 500


def test_a_field_of_the_wrong_type_is_named(server: Running) -> None:
    body = {**CHAT, "max_tokens": "many"}
    found = refused(post(server, json.dumps(body)), 400, "invalid_type")
    assert found["param"] == "max_tokens"
    assert "max_tokens" in found["message"]


@pytest.mark.fault("F27")
def test_a_name_that_is_there_twice_is_refused(server: Running) -> None:
    for body in (b'{"messages": [], "messages": []}', b'{"messages": [{"role": 1, "role": 2}]}'):
        assert "twice" in refused(post(server, body), 400, "invalid_json")["message"]


@pytest.mark.fault("F27")
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data", "image/png"]
)
def test_another_kind_of_body_is_refused(server: Running, kind: str) -> None:
    refused(post(server, json.dumps(CHAT), kind), 415, "unsupported_media")


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON", None,
     "application/x-www-form-urlencoded", "application/vnd.api+json"],
)  # fmt: skip
def test_json_is_read_whatever_the_client_calls_it(server: Running, kind: str | None) -> None:
    assert post(server, json.dumps(CHAT).encode(), kind).status_code == 200


@pytest.mark.fault("F27")
def test_another_charset_is_refused(server: Running) -> None:
    body = json.dumps(CHAT).encode("utf-16")
    found = refused(
        post(server, body, "application/json; charset=utf-16"), 415, "unsupported_media"
    )
    assert "UTF-8" in found["message"]


def test_a_mark_of_byte_order_is_no_part_of_the_text(server: Running) -> None:
    assert post(server, b"\xef\xbb\xbf" + json.dumps(CHAT).encode()).status_code == 200


@pytest.mark.fault("F27")
def test_a_compressed_body_is_refused_unread(server: Running) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    reply = server.ask("POST", PATH, content=bomb, headers=headers)
    refused(reply, 415, "unsupported_media")


# -- depth


@pytest.mark.fault("F27")
@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000,
                                  '{"a":' * 100_000 + "1" + "}" * 100_000])  # fmt: skip
def test_deep_json_is_refused(server: Running, text: str) -> None:
    for body in (text, f'{{"messages": {text}}}'):
        assert "deeper" in refused(post(server, body), 400, "invalid_json")["message"]


def nested(depth: int) -> some.SearchStrategy[Any]:
    leaf = some.one_of(some.text("[]{}\\\"'ab"), some.integers(), some.none())
    made: some.SearchStrategy[Any] = leaf
    for _ in range(depth):
        made = some.one_of(
            some.lists(made, max_size=3), some.dictionaries(some.text('[]{}\\"a'), made, max_size=2)
        )
    return made


def depth_of(value: Any) -> int:
    inside = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inside is None else 1 + max(map(depth_of, inside), default=0)


@given(some.integers(1, 4).flatmap(nested))
def test_the_depth_is_counted_outside_of_strings(value: Any) -> None:
    depth = depth_of(value)
    for more in (0, MAX_DEPTH - depth, MAX_DEPTH - depth + 1):
        inside: Any = value
        for _ in range(more):
            inside = [inside]
        # Enough of brackets beside it, so that they are looked at.
        raw = msgspec.json.encode([inside] + [[]] * 100) if more else msgspec.json.encode(value)
        if more and depth_of(inside) + 1 > MAX_DEPTH:
            with pytest.raises(ApiError):
                check_form(raw)
        else:
            check_form(raw)


def test_brackets_in_strings_are_no_depth() -> None:
    decode(json.dumps({"a": "[" * 10_000, "b": '\\"' + "{" * 10_000}).encode(), Any)


# -- large ones


@pytest.mark.fault("F27")
def test_a_body_of_more_values_than_there_may_be_is_refused() -> None:
    for value in (b"1,", b'"a",', b"[],", b'{"a":"b"},'):
        decode(b'{"a": [' + value * (MOST_VALUES - 1) + b"1]}", msgspec.Struct)
        with pytest.raises(ApiError, match="more than 300,000 values") as refused:
            decode(b'{"a": [' + value * (2 * MOST_VALUES) + b"1]}", msgspec.Struct)
        assert refused.value.status == 413
    text = 'a, "b", [c], ' * MOST_VALUES
    assert decode(json.dumps({"a": text}).encode(), Any) == {"a": text}


@pytest.mark.parametrize(
    "body",
    [b'{"messages": [], "messages": [], PAD}', b'{"messages": 1, PAD}', b'{"messages": [PAD}',
     b'{"messages": [{"role": "user", "content": 1}], PAD}', b'{"max_tokens": "x", PAD}',
     b'{"messages": ' + b"[" * 100 + b"]" * 100 + b", PAD}", b'{PAD, "messages": [\xff]}'],
)  # fmt: skip
def test_a_large_body_has_the_errors_of_a_small_one(server: Running, body: bytes) -> None:
    replies = []
    for size in (1, LONG):
        pad = b'"user": "' + b"x" * size + b'"'
        found = post(server, body.replace(b"PAD", pad))
        replies.append((found.status_code, {**found.json()["error"], "message": ""}))
    assert replies[0] == replies[1]
    assert replies[0][0] == 400


def test_a_large_body_is_what_it_is(server: Running) -> None:
    for text in ("x" * LONG, "\u00e4\u20ac\U0001f335" * LONG, '\n\\"' * LONG):
        body = {**CHAT, "user": text}
        for raw in (json.dumps(body).encode(), json.dumps(body, ensure_ascii=False).encode()):
            assert post(server, b"\xef\xbb\xbf" + raw).status_code == 200
    one = asyncio.run(_decoded(json.dumps({"a": text}).encode()))
    assert one == {"a": text}


async def _decoded(raw: bytes) -> Any:
    decoder = Decoder()
    try:
        return await decoder.decode([raw[:100], raw[100:]], Any)
    finally:
        decoder.close()


@pytest.mark.fault("F56")
def test_large_bodies_outlive_the_process_that_checks_them(tiny_model: Path) -> None:
    body = json.dumps({**CHAT, "user": "x" * LONG})
    with serving(tiny_model) as running:
        assert post(running, json.dumps(CHAT)).status_code == 200
        decoder = running.service.decoder
        assert decoder._process is None  # small ones need none
        assert post(running, body).status_code == 200
        first = decoder._process
        assert first is not None and first.poll() is None
        first.kill()
        first.wait()
        assert post(running, body).status_code == 200
        assert first.stdin is not None and first.stdout is not None
        assert first.stdin.closed and first.stdout.closed  # not kept beside those of the next
        second = decoder._process
        assert second is not None
        second.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(post, running, json.dumps({**CHAT, "user": "x" * 16 * LONG}))
            until(lambda: not select.select([], [second.stdin], [], 0)[1])  # it is full
            second.kill()
            assert asked.result().status_code == 503
        assert post(running, body).status_code == 200
        last = decoder._process
        assert last is not None
    assert last.poll() is not None


# -- size and speed


@pytest.fixture(scope="module")
def narrow(tiny_model: Path) -> Iterator[Running]:
    """A server with small limits."""
    with serving(
        tiny_model,
        max_body=10_000,
        max_upload=100_000,
        body_seconds=0.5,
        header_seconds=0.5,
        write_seconds=1.0,
    ) as running:
        yield running


@pytest.mark.fault("F27")
def test_a_large_body_is_refused_before_it_is_sent(narrow: Running) -> None:
    with narrow.connect() as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 200000000\r\n\r\n"
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.fault("F27")
def test_a_large_body_without_a_length_is_refused_on_the_way(narrow: Running) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    reply = narrow.ask("POST", PATH, content=parts(), headers=headers)
    assert "10000 bytes" in refused(reply, 413, "body_too_large")["message"]


def test_its_sender_reads_the_answer_all_the_same(narrow: Running) -> None:
    reply = narrow.ask("POST", PATH, content=b" " * (30 << 20),
                       headers={"Content-Type": "application/json"})  # fmt: skip
    refused(reply, 413, "body_too_large")


def test_a_body_without_any_length_is_empty(narrow: Running) -> None:
    with narrow.connect() as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.fault("F27")
def test_a_body_that_does_not_come_is_not_waited_for(narrow: Running) -> None:
    with narrow.connect() as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")


@pytest.mark.fault("F60")
def test_headers_that_do_not_come_are_not_waited_for(narrow: Running) -> None:
    for begun in (b"", b"GET /v1/models HTTP/1.1\r\nHost: lo"):
        with narrow.connect() as raw:
            raw.sendall(begun)
            answer = b""
            while part := raw.recv(4096):  # to the end of the connection
                answer += part
            assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.fault("F60")
def test_headers_that_come_byte_by_byte_have_no_more_time(narrow: Running) -> None:
    with narrow.connect() as raw, suppress(ConnectionError):
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        while not select.select([raw], [], [], 0.02)[0]:
            raw.sendall(b"x")
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_a_second_request_on_a_connection_has_its_own_time(narrow: Running) -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with narrow.connect() as raw:
        raw.sendall(whole)
        answer = b""
        while b'"ok"}' not in answer:
            answer += raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ")
        raw.sendall(whole[:20])
        answer = raw.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")


# -- forms


class Seen(Reply, kw_only=True):
    """What came of a form."""

    names: list[str]
    sizes: list[int]
    on_disk: list[bool]


async def _upload(ask: Ask[Any]) -> Seen:
    assert ask.form is not None
    files = [each for _, each in ask.form.multi_items() if isinstance(each, UploadFile)]
    rolled = [bool(getattr(each.file, "_rolled", False)) for each in files]
    OPENED.extend(each.file for each in files)
    return Seen(
        names=sorted(ask.form.keys()), sizes=[each.size or 0 for each in files], on_disk=rolled
    )


OPENED: list[Any] = []
UPLOAD = Endpoint("POST", "/v1/upload", _upload, DIALECT, "Take a form.", form=True, reply=Seen)


@pytest.fixture(scope="module")
def taking(tiny_model: Path) -> Iterator[Running]:
    """A server that takes forms of 3 MB."""
    with serving(tiny_model, max_upload=3 << 20, extra=[UPLOAD]) as running:
        yield running


def test_a_file_of_a_form_lies_on_the_disk_and_is_gone_with_the_answer(taking: Running) -> None:
    OPENED.clear()
    files = {"file": ("a.wav", io.BytesIO(b"x" * (2 << 20))), "small": ("b", io.BytesIO(b"y"))}
    reply = taking.ask("POST", "/v1/upload", files=files, data={"model": "tiny"})
    assert reply.json() == {
        "names": ["file", "model", "small"],
        "sizes": [2 << 20, 1],
        "on_disk": [True, False],
    }
    until(lambda: all(each.closed for each in OPENED))


def test_forms_are_refused_in_every_way_that_they_are_wrong(taking: Running) -> None:
    large = {"file": ("a", io.BytesIO(b"x" * (4 << 20)))}
    refused(taking.ask("POST", "/v1/upload", files=large), 413, "body_too_large")
    many = [("file", (str(n), io.BytesIO(b"x"))) for n in range(20)]
    refused(taking.ask("POST", "/v1/upload", files=many), 400, "invalid_form")
    for kind, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nno colon\r\n\r\nx\r\n--b--"),
    ):
        headers = {"Content-Type": kind}
        refused(
            taking.ask("POST", "/v1/upload", content=body, headers=headers), 400, "invalid_form"
        )
    refused(taking.ask("POST", "/v1/upload", json={}), 415, "unsupported_media")
