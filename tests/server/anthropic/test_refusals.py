"""What is wrong with a request is said in Anthropic's shape, and names the field."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from tests.generate.scripted import saying
from tests.server.anthropic.conftest import Ask

HELLO: Any = [{"role": "user", "content": "Hello!"}]
GOOD: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 4}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "4"}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": 5}]}, "content"),
        ({"messages": [{"role": "user"}]}, "content"),
        (user({"type": "video"}), "type"),
        (user({"type": "text", "text": None}), "text"),
        (user({"type": "text", "text": "\ud800"}), ""),
        (user({"type": "thinking", "thinking": "x"}), "messages[0].content[0].type"),
        (user({"type": "tool_use", "id": "1", "name": "f"}), "messages[0].content[0].type"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "1"}]}
                ]
            },
            "messages[0].content[0].type",
        ),
        (
            user(
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "text/html", "data": PNG},
                }
            ),
            "messages[0].content[0].source.media_type",
        ),
        (
            user({"type": "image", "source": {"type": "url", "url": "/etc/passwd"}}),
            "messages[0].content[0].source.url",
        ),
        (
            user({"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/x.png"}}),
            "image",
        ),
        (user({"type": "image", "source": {"type": "file", "file_id": "x"}}), "source"),
        (
            user(
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="},
                }
            ),
            "messages[0].content[0].source",
        ),
        ({"system": 5}, "system"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -5}, "top_k"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"stop_sequences": ["x"] * 99}, "stop_sequences"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools[0]"),
        ({"tools": [{"name": "f", "input_schema": {"type": "hiccup"}}]}, "tools[0]"),
        ({"tools": [TOOL, TOOL]}, "tools[1]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
            "thinking",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "hiccup"}}}},
            "output_config.format",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_named(
    url: str, changed: dict[str, Any], names: str, stream: bool
) -> None:
    body = {**GOOD, **changed, "stream": stream}
    raw = json.dumps({k: v for k, v in body.items() if v is not None or k == "messages"})
    reply = httpx2.post(
        f"{url}/v1/messages", content=raw, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400
    told = reply.json()
    assert told["type"] == "error" and told["error"]["type"] == "invalid_request_error"
    assert names in told["error"]["message"], told
    assert told["request_id"].startswith("req_")
    assert told["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"]


def test_an_unknown_model_is_not_found(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="claude-nine", messages=HELLO, max_tokens=4)
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    assert "tiny" in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_refused_before_anything_is_sent(
    client: Anthropic, stream: bool
) -> None:
    long: Any = [{"role": "user", "content": "far too long " * 100}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="tiny", messages=long, max_tokens=4, stream=stream)
    message = caught.value.body["error"]["message"]  # type: ignore[index]
    assert message.startswith("prompt is too long") and "512" in message


def test_a_stream_that_waits_says_so_in_its_own_words(saying_client: Ask) -> None:
    client = saying_client(saying("one"), settings={"ping_seconds": 0.01})
    program = client.model._engine.program  # type: ignore[attr-defined]
    program.during = lambda _: time.sleep(0.1)
    body = {"model": "scripted", "messages": HELLO, "max_tokens": 9, "stream": True}
    told = httpx2.post(client.base_url.join("/v1/messages"), json=body, timeout=60).text
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: ")]
    assert sum(event["type"] == "ping" for event in events) > 2
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"


def test_what_fails_in_a_stream_is_an_event(saying_client: Ask) -> None:
    client = saying_client(saying("one#two"))
    program = client.model._engine.program  # type: ignore[attr-defined]
    seen: list[str] = []

    def fail(tokens: Any) -> None:
        if ord("#") in tokens:
            raise RuntimeError("a secret text")

    program.during = fail
    told: Any = {"model": "scripted", "messages": HELLO, "max_tokens": 50}
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.create(stream=True, **told) as stream,
    ):
        for event in stream:
            seen.append(event.type)
    assert seen[0] == "message_start"
    assert caught.value.body["error"]["type"] == "api_error"  # type: ignore[index]
    assert "secret" not in str(caught.value.body)


def test_versions_and_betas_are_tolerated(url: str) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x-1,y-2", "x-api-key": "k"}
    body = {**GOOD, "metadata": {"user_id": "u"}, "service_tier": "auto", "context_management": {}}
    reply = httpx2.post(f"{url}/v1/messages?beta=true", json=body, headers=headers)
    assert reply.status_code == 200 and reply.json()["usage"]["service_tier"] == "standard"
