"""OpenAI's own OpenAPI document, against which all that is sent is checked.

`openapi.json.gz` is version 2.3.0 of it, under the MIT licence (`openapi.LICENSE`).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from jsonschema import Draft202012Validator

DOCUMENT = Path(__file__).with_name("openapi.json.gz")

REPLIES = {
    ("POST", "/v1/chat/completions"): "CreateChatCompletionResponse",
    ("POST", "/v1/completions"): "CreateCompletionResponse",
    ("POST", "/v1/responses"): "Response",
    ("GET", "/v1/responses/"): "Response",
    ("GET", "/v1/responses/input_items"): "ResponseItemList",
    ("GET", "/v1/models"): "ListModelsResponse",
    ("GET", "/v1/models/"): "Model",
}
"""The schemas of whole replies, by method and path."""

EVENTS = {
    "/v1/chat/completions": "CreateChatCompletionStreamResponse",
    "/v1/completions": "CreateCompletionResponse",
    "/v1/responses": "ResponseStreamEvent",
}
"""The schemas of what is streamed."""


@cache
def components() -> dict[str, Any]:
    """All schemas. What is marked as nullable in the manner of OpenAPI 3.0 may be null."""
    with gzip.open(DOCUMENT) as file:
        found: dict[str, Any] = json.load(file)["components"]
    _allow_null(found)
    reason = found["schemas"]["CreateCompletionResponse"]["properties"]["choices"]["items"]
    reason = reason["properties"]["finish_reason"]  # of a chunk it is null until the last
    reason["type"], reason["enum"] = ["string", "null"], [*reason["enum"], None]
    return found


def _allow_null(node: Any) -> None:
    if isinstance(node, list):
        for each in node:
            _allow_null(each)
    if not isinstance(node, dict):
        return
    for each in node.values():
        _allow_null(each)
    if node.get("nullable") is True and isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
        if "enum" in node:
            node["enum"] = [*node["enum"], None]


@cache
def validator(name: str) -> Draft202012Validator:
    """What checks values against the schema of that name."""
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": components()}
    )


def check(name: str, value: Any) -> None:
    """Fails with all that is wrong with a value."""
    errors = [
        f"{error.json_path}: {error.message:.300}" for error in validator(name).iter_errors(value)
    ]
    assert not errors, f"not a {name}: {errors}\n{json.dumps(value)[:2000]}"


def check_event(path: str, value: Any) -> None:
    """Fails where an event of a stream is not what its endpoint may send."""
    name = EVENTS[path]
    if name == "ResponseStreamEvent":  # of sixty kinds the one that it says it is
        name = event_schema(value["type"])
    check(name, value)


@cache
def event_schema(kind: str) -> str:
    """The schema of the events of a kind."""
    schemas = components()["schemas"]
    for each in schemas["ResponseStreamEvent"]["anyOf"]:
        name = each["$ref"].rpartition("/")[2]
        if kind in schemas[name]["properties"]["type"].get("enum", ()):
            return str(name)
    raise AssertionError(f"no event of a response is called {kind}")


def events_in(body: bytes) -> Iterator[tuple[str | None, Any]]:
    """The name and the value of each event of a stream; its end is left out."""
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        if fields["data"] != "[DONE]":
            yield fields.get("event"), json.loads(fields["data"])


class Checking(httpx2.BaseTransport):
    """Checks every reply and every event on their way to a client."""

    def __init__(self) -> None:
        self._inner = httpx2.HTTPTransport()
        self.checked = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner.handle_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.SyncByteStream)
        response.stream = _Read(stream, lambda body: self._check(request, response, body))
        return response

    def _check(self, request: httpx2.Request, response: httpx2.Response, body: bytes) -> None:
        path = request.url.path
        if response.headers["content-type"].startswith("text/event-stream"):
            for _, value in events_in(body):
                check_event(path, value)
                self.checked += 1
            return
        value = json.loads(body)
        if response.status_code >= 400:
            name = "ErrorResponse"
        elif path.endswith("/input_items"):
            name = REPLIES["GET", "/v1/responses/input_items"]
        else:
            name = REPLIES.get((request.method, path)) or REPLIES.get(
                (request.method, path.rpartition("/")[0] + "/"), ""
            )
        if name:
            check(name, value)
            self.checked += 1

    def close(self) -> None:
        self._inner.close()


class _Read(httpx2.SyncByteStream):
    """The bytes of a reply, which are checked once all are there."""

    def __init__(self, stream: httpx2.SyncByteStream, told: Any) -> None:
        self._stream, self._told = stream, told

    def __iter__(self) -> Iterator[bytes]:
        parts = []
        for part in self._stream:
            parts.append(part)
            yield part
        self._told(b"".join(parts))

    def close(self) -> None:
        self._stream.close()
