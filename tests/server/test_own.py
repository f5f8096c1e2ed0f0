"""Health, counts, tokens, documents, the page, and what the server says of itself."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from cactus.server.own.openapi import document
from cactus.server.own.page import page
from tests.server.running import Running, serving, until, value_of

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def test_it_is_there_and_ready_until_it_ends(tiny_model: Path) -> None:
    with serving(tiny_model) as ending, ending.connect() as held:
        for path in ("/health", "/live", "/ready"):
            assert ending.ask("GET", path).json() == {"status": "ok"}
        held.sendall(  # a request on its way
            b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )
        until(lambda: ending.service.busy)
        ending.service.stopping.set()
        until(lambda: ending.service.draining)
        with ending.client() as client:
            assert client.get("/ready").status_code == 503
            assert client.get("/ready").headers["retry-after"]
            assert client.get("/live").status_code == 200
            refused = client.post("/v1/chat/completions", json=CHAT)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"


def test_metrics_count_answers_under_known_names(server: Running) -> None:
    def now() -> str:
        reply = server.ask("GET", "/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        return reply.text

    label = '{model_name="tiny"}'
    server.ask("POST", "/v1/chat/completions", json=CHAT)
    before = now()
    used = server.ask("POST", "/v1/chat/completions", json=CHAT).json()["usage"]
    after = now()
    for name, key in (
        ("prompt_tokens", "prompt_tokens"),
        ("generation_tokens", "completion_tokens"),
    ):
        line = f"cactus:{name}_total{label}"
        assert value_of(after, line) - value_of(before, line) == used[key]
    first = f"cactus:time_to_first_token_seconds_count{label}"
    assert value_of(after, first) == value_of(before, first) + 1
    assert value_of(after, "cactus:num_requests_running ") == 0
    assert value_of(after, "cactus:num_requests_waiting ") == 0
    assert value_of(after, "cactus:kv_cache_bytes ") > 0
    assert value_of(after, "cactus:memory_reserved_bytes ") > 0
    assert value_of(after, f"cactus:prefix_cache_hits_total{label}") > 0
    assert 'cactus:http_requests_total{endpoint="/v1/chat/completions",status="200"}' in after
    for name in ("request_cancelled_total", "inter_token_latency_seconds_bucket",
                 "request_success_total"):  # fmt: skip
        assert f"cactus:{name}" in after


def test_an_unknown_path_makes_no_new_line_of_metrics(server: Running) -> None:
    for n in range(5):
        server.ask("GET", f"/unknown-{n}")
    assert "unknown-" not in server.ask("GET", "/metrics").text


def test_text_becomes_tokens_and_tokens_text(server: Running) -> None:
    text = "Héllo <|im_end|> wörld"
    reply = server.ask("POST", "/tokenize", json={"content": text}).json()
    assert reply["count"] == len(reply["tokens"]) > 0
    assert reply["max_model_len"] == 512
    assert server.ask("POST", "/tokenize", json={"prompt": text, "model": "tiny"}).json() == reply
    back = server.ask("POST", "/detokenize", json={"tokens": reply["tokens"]}).json()
    assert back["content"] == back["prompt"] == text
    pieces = server.ask("POST", "/tokenize", json={"content": "ab", "with_pieces": True}).json()
    assert "".join(each["piece"] for each in pieces["tokens"]) == "ab"
    for body, param in (({}, "content"), ({"content": 1}, "content")):
        refused = server.ask("POST", "/tokenize", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    for tokens in ([-1], [10**9], [1 << 70]):
        refused = server.ask("POST", "/detokenize", json={"tokens": tokens})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tokens[0]")


def test_what_it_says_of_itself(server: Running) -> None:
    server.ask("POST", "/v1/chat/completions", json=CHAT)
    status = server.ask("GET", "/cactus/status").json()
    assert status["needs_key"] is False
    assert status["documents"] is None
    assert status["models"] == [
        {"id": "tiny", "abilities": ["chat", "embed"], "context_length": 512, "loaded": True,
         "default": True}
    ]  # fmt: skip
    running = server.ask("GET", "/cactus/running").json()
    assert running["ready"] is True
    assert running["memory_reserved"] == running["models"][0]["bytes"] > 0
    assert running["models"][0]["idle_seconds"] >= 0
    assert running["tenants"][0]["id"] is None
    assert running["tenants"][0]["completion_tokens"] > 0


def test_what_a_model_can_do_is_read_from_its_template(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "able"
    shutil.copytree(tiny_model, folder)
    template = folder / "chat_template.jinja"
    with serving(folder) as running:

        def able() -> tuple[set[str], set[str]]:
            """As the page is told, and Ollama's clients."""
            (model,) = running.ask("GET", "/cactus/status").json()["models"]
            shown = running.ask("POST", "/api/show", json={"model": "able"}).json()
            return set(model["abilities"]) - {"chat", "embed"}, set(shown["capabilities"])

        assert able() == (set(), {"completion"})
        for n, (text, page, ollama) in enumerate(
            [
                ("{{ tools }}", {"tools"}, {"tools"}),
                ("{% if enable_thinking %}{% endif %}", {"think"}, {"thinking"}),
                ("{{ '</think>' }} {{ tools }}", {"think", "tools"}, {"thinking", "tools"}),
            ]
        ):
            template.write_text(text)
            os.utime(template, ns=(n, n))
            assert able() == (page, {"completion", *ollama})
        template.unlink()
        assert able() == (set(), {"completion"})


def test_keys_are_counted_apart_and_see_themselves_alone(tiny_model: Path) -> None:
    keys = ("key-of-one", "key-of-two", "key-of-admin")
    told = {}
    with serving(tiny_model, keys=keys, admin_keys=keys[2:]) as locked:
        for key, times in (("key-of-one", 2), ("key-of-two", 1)):
            for _ in range(times):
                locked.ask("POST", "/v1/chat/completions", json=CHAT, headers={"X-Api-Key": key})
        for key in keys:
            running = locked.ask("GET", "/cactus/running", headers={"X-Api-Key": key}).json()
            assert "key-of" not in json.dumps(running)
            told[key] = sorted(each["completion_tokens"] for each in running["tenants"])
    assert told == {"key-of-one": [10], "key-of-two": [5], "key-of-admin": [0, 5, 10]}


def test_a_model_is_unloaded_by_request(server: Running) -> None:
    server.ask("POST", "/v1/chat/completions", json=CHAT)
    reply = server.ask("POST", "/cactus/unload", json={"model": "tiny:latest"})
    assert reply.json() == {"model": "tiny", "unloaded": True}
    assert server.service.served[0].model is None
    assert server.ask("POST", "/cactus/unload", json={"model": "other"}).status_code == 404
    assert server.ask("POST", "/v1/chat/completions", json=CHAT).status_code == 200


def test_a_request_ends_the_server(tiny_model: Path) -> None:
    with serving(tiny_model) as ending:
        reply = ending.ask("POST", "/cactus/stop", json={})
        assert reply.json()["stopping"] is True

        def ended() -> bool:
            try:
                ending.ask("GET", "/live")
            except httpx.TransportError:  # also where it ends in the middle of this very request
                return True
            return False

        until(ended)


# -- documents


def test_a_passage_opens_and_nothing_else_does(
    tmp_path: Path, tiny_model: Path, minilm: Path
) -> None:
    from cactus.corpus.corpus import Corpus

    folder = tmp_path / "docs"
    folder.mkdir()
    lines = [f"Line {n} is about cacti, which need little water." for n in range(200)]
    (folder / "guide.md").write_text("\n".join(lines))
    (tmp_path / "secret.md").write_text("a secret")

    def id_of(*row: Any) -> str:
        raw = json.dumps(list(row)).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    text = "\n".join(lines)
    start = text.index("Line 100 ")
    end = start + len(lines[100])
    with serving(tiny_model) as reading:
        reading.service.documents = Corpus(folder, embedder=minilm, cache_dir=tmp_path / "cache")
        found = reading.ask("GET", f"/cactus/documents/{id_of('guide.md', start, end)}").json()
        assert found["text"] == lines[100]
        assert found["source"] == "guide.md"
        assert found["before"].endswith(lines[99] + "\n")
        assert found["after"].startswith("\n" + lines[101])
        status = reading.ask("GET", "/cactus/status").json()["documents"]
        assert (status["name"], status["files"]) == ("docs", 1)
        for id in ("x", "%2e%2e", id_of("../secret.md", 0, 5), id_of("guide.md", 5, 5),
                   id_of("guide.md", 10**9, 10**9 + 1), id_of(1, 2, 3), id_of("guide.md"),
                   id_of(str(tmp_path / "secret.md"), 0, 5)):  # fmt: skip
            reply = reading.ask("GET", f"/cactus/documents/{id}")
            assert reply.status_code == 404, id
            assert "secret" not in reply.text.replace("secret.md", "")


def test_without_documents_it_says_how_to_serve_them(server: Running) -> None:
    reply = server.ask("GET", "/cactus/documents/abc")
    assert reply.status_code == 404
    assert "--docs" in reply.json()["error"]["message"]


# -- the page


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The files of a page."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Page</title>" + "x" * 1000)
    (folder / "assets" / "main-abc123.js").write_text("1;" * 1000)
    (folder / "assets" / "font-abc123.woff2").write_bytes(b"font")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.mark.fault("F82")
def test_files_of_the_page_are_served_safely(built: Path, tiny_model: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("cactus.server.app.page", lambda: page(built))
    with serving(tiny_model) as running:
        index = running.ask("GET", "/")
        assert index.text == running.ask("GET", "/index.html").text
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        assert index.headers["cache-control"] == "no-cache"
        assert index.headers["content-security-policy"] == (
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'; require-trusted-types-for 'script'"
        )
        assert index.headers["x-content-type-options"] == "nosniff"
        script = running.ask("GET", "/assets/main-abc123.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "immutable" in script.headers["cache-control"]
        assert script.headers["content-encoding"] == "gzip"
        assert script.text == "1;" * 1000
        plain = running.ask(
            "GET", "/assets/main-abc123.js", headers={"Accept-Encoding": "identity"}
        )
        assert plain.text == script.text and "content-encoding" not in plain.headers
        tag = {"If-None-Match": index.headers["etag"]}
        assert running.ask("GET", "/", headers=tag).status_code == 304
        font = running.ask("GET", "/assets/font-abc123.woff2")
        assert font.headers["content-type"] == "font/woff2"
        assert running.ask("POST", "/").status_code == 405


@pytest.mark.fault("F82")
@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/..%2fsecret.txt", "/assets/..%2f..%2fsecret.txt", "/%2e%2e/secret.txt",
     "/..%5csecret.txt", "/assets/", "//index.html", "//", "/index.html%00", "/index.html/",
     "/assets//main-abc123.js", "/..%252f..%252fetc/passwd", "/etc/passwd", "/.%00./secret.txt"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(built: Path, tiny_model: Path, path: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("cactus.server.app.page", lambda: page(built))
    with serving(tiny_model) as running, running.connect() as raw:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        raw.sendall(request.encode())
        data = b""
        while part := raw.recv(65536):
            data += part
    assert data.startswith(b"HTTP/1.1 404 ")
    assert b"application/json" in data


def test_without_a_page_there_is_a_sentence(tmp_path: Path, tiny_model: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("cactus.server.app.page", lambda: page(tmp_path))
    with serving(tiny_model) as running:
        reply = running.ask("GET", "/")
    assert reply.headers["content-type"].startswith("text/plain")
    assert "Cactus is running" in reply.text


# -- the description


def test_the_description_is_valid_and_of_every_endpoint(server: Running) -> None:
    found = server.ask("GET", "/openapi.json").json()
    assert found["openapi"].startswith("3.2")
    from cactus.server import app

    there = {(method, path) for path, methods in found["paths"].items() for method in methods}
    assert len(there) == len(app.endpoints())
    names = [
        each["operationId"] for methods in found["paths"].values() for each in methods.values()
    ]
    assert len(set(names)) == len(names)
    for schema in found["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def refs(value: Any) -> set[str]:
    """All that a document refers to."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(refs, value.values()))
    return set().union(*map(refs, value)) if isinstance(value, list) else set()


def test_all_that_it_refers_to_is_there(server: Running) -> None:
    found = server.ask("GET", "/openapi.json").json()
    known = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert refs(found) <= known


def validated(found: dict[str, Any], path: str, method: str, reply: httpx.Response) -> None:
    """Raises where an answer is not as it is described."""
    described = found["paths"][path][method]["responses"][str(reply.status_code)]["content"]
    kind = reply.headers["content-type"].partition(";")[0]
    schema = next(each["schema"] for media, each in described.items() if media.startswith(kind))
    whole = {**schema, "components": found["components"]}
    jsonschema.Draft202012Validator(whole).validate(reply.json())


def test_answers_are_as_they_are_described(server: Running) -> None:
    found = server.ask("GET", "/openapi.json").json()
    for method, path, body in (
        ("get", "/health", None),
        ("get", "/ready", None),
        ("get", "/cactus/status", None),
        ("get", "/cactus/running", None),
        ("post", "/tokenize", {"content": "Hi"}),
        ("post", "/tokenize", {"content": "Hi", "with_pieces": True}),
        ("post", "/tokenize", {"content": 1}),
        ("post", "/tokenize", {"content": "Hi", "model": "none"}),
        ("post", "/detokenize", {"tokens": [1, 2]}),
        ("post", "/v1/chat/completions", CHAT),
        ("post", "/v1/chat/completions", {"messages": 1}),
        ("get", "/v1/models", None),
    ):
        validated(found, path, method, server.ask(method.upper(), path, json=body))


def test_structs_of_one_name_are_described_apart() -> None:
    import msgspec

    from cactus.server.endpoint import Endpoint
    from cactus.server.openai.errors import DIALECT

    one = msgspec.defstruct("Same", [("a", int)], module="one")
    two = msgspec.defstruct("Same", [("b", str)], module="two")

    async def handle(_: Any) -> None: ...

    table = [
        Endpoint("GET", f"/{n}", handle, DIALECT, "x", reply=kind)
        for n, kind in enumerate((one, two))
    ]
    made = document(table, "1.0")
    assert refs(made["paths"]["/0"]) != refs(made["paths"]["/1"])
