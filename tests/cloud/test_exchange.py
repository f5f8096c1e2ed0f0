"""Questions to a real service over TLS: what is sent, what comes back, and how it is ended."""

from __future__ import annotations

import base64
import gc
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus import Cloud
from cactus.chat.messages import parse_messages
from cactus.cloud.question import Question
from cactus.generate.options import Options
from tests.cloud.asking import HELLO, TOOLS, asked, begin
from tests.cloud_server import (
    KEY,
    Behaviour,
    CloudServer,
    delta,
    drips,
    event,
    hangs,
    refuses,
    says,
    sends,
    streams,
    tells,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


# -- what is sent


def test_a_question_is_sent_with_its_key_and_answered(server: CloudServer, cloud: Cloud) -> None:
    text, reply = asked(cloud, max_tokens=99)
    assert text == "from the cloud" and reply.error is None
    assert (reply.finish_reason, reply.host) == ("stop", cloud.asker.settings.host)
    assert (reply.model, reply.tokens_read, reply.tokens_written) == ("large", 11, 7)
    sent = server.last
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.body == {
        "model": "large",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 99,
    }


def test_a_stream_comes_in_pieces(server: CloudServer, cloud: Cloud) -> None:
    server.behave(tells("one ", "two ", "drei €", pause=0.01))
    text, reply = asked(cloud, streamed=True)
    assert text == "one two drei €" and reply.error is None
    assert server.last.body["stream"] is True


def test_tools_are_offered_and_calls_come_back(server: CloudServer, cloud: Cloud) -> None:
    server.behave(says(None, [("weather", '{"city": "Rom"}'), ("clock", "")], "tool_calls"))
    text, reply = asked(cloud, tools=TOOLS)
    assert text == "" and reply.finish_reason == "tool_calls"
    assert reply.function_calls == (
        {"name": "weather", "arguments": {"city": "Rom"}},
        {"name": "clock", "arguments": {}},
    )
    names = [tool["function"]["name"] for tool in server.last.body["tools"]]
    assert names == ["weather", "clock"]


def test_calls_that_are_streamed_are_put_together(server: CloudServer, cloud: Cloud) -> None:
    def call(index: int, **function: str) -> bytes:
        return delta(tool_calls=[{"index": index, "function": function}])

    server.behave(
        streams(
            call(0, name="weather", arguments=""),
            call(0, arguments='{"ci'),
            call(1, name="clock", arguments="{}"),
            call(0, arguments='ty": "Köln"}'),
            delta("tool_calls"),
            event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}),
        )
    )
    _, reply = asked(cloud, streamed=True, tools=TOOLS)
    assert reply.error is None and (reply.tokens_read, reply.tokens_written) == (5, 6)
    assert [call["arguments"] for call in reply.function_calls] == [{"city": "Köln"}, {}]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_why_a_reply_ended_is_seen_in_its_calls(
    server: CloudServer, cloud: Cloud, reason: str, streamed: bool
) -> None:
    """Some services say "stop" of a call that was forced, and "tool_calls" of text."""
    server.behave(says(None, [("clock", "{}")], reason))
    assert asked(cloud, streamed=streamed, tools=TOOLS)[1].finish_reason == "tool_calls"
    server.behave(says("It is late.", reason=reason))
    assert asked(cloud, streamed=streamed, tools=TOOLS)[1].finish_reason == "stop"


@pytest.mark.parametrize("number", [None, 0])
def test_calls_with_the_same_number_are_told_apart_by_their_ids(
    server: CloudServer, cloud: Cloud, number: int | None
) -> None:
    def call(id: str | None = None, **function: str) -> bytes:
        return delta(tool_calls=[{"index": number, "id": id, "function": function}])

    server.behave(
        streams(
            call("a", name="weather", arguments='{"city": '),
            call(arguments='"Rom"}'),
            call("b", name="clock", arguments=""),
            call(arguments="{}"),
            delta("tool_calls"),
        )
    )
    _, reply = asked(cloud, streamed=True, tools=TOOLS)
    assert [call["arguments"] for call in reply.function_calls] == [{"city": "Rom"}, {}]
    assert reply.call_ids == ("a", "b")


def test_a_conversation_with_calls_and_results_is_sent_as_it_was(
    server: CloudServer, cloud: Cloud
) -> None:
    asked(
        cloud,
        [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"name": "weather", "arguments": {"city": "Köln"}},
                    {"id": "mine", "function": {"name": "clock", "arguments": "{broken"}},
                ],
            },
            {"role": "tool", "content": "rain"},
            {"role": "tool", "content": "noon", "tool_call_id": "mine"},
        ],
    )
    system, _, calls, rain, noon = server.last.body["messages"]
    assert system == {"role": "system", "content": "Be kind."}
    first, second = calls["tool_calls"]
    assert json.loads(first["function"]["arguments"]) == {"city": "Köln"}
    assert second["function"]["arguments"] == "{broken" and second["id"] == "mine"
    assert rain == {"role": "tool", "content": "rain", "tool_call_id": first["id"]}
    assert noon["tool_call_id"] == "mine" and calls["content"] is None


def test_images_are_sent_as_data_urls(server: CloudServer, cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "a picture").write_bytes(PNG)
    parts = [
        {"type": "text", "text": "What is on"},
        {"type": "image", "path": str(tmp_path / "a picture")},
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
    ]
    asked(cloud, [{"role": "user", "content": parts, "images": [PNG]}])
    data = "data:image/png;base64," + base64.b64encode(PNG).decode()
    urls = [p["image_url"]["url"] for p in server.last.body["messages"][0]["content"]
            if p["type"] == "image_url"]  # fmt: skip
    assert urls == [data, data, "https://example.com/x.png"]


def test_images_of_kinds_that_services_do_not_take_are_sent_as_png() -> None:
    from cactus.cloud.images import image_url
    from cactus.images.door import load
    from tests.images.made import picture, save

    for image in (save(picture(9, 7), "BMP"), picture(9, 7)):
        url = image_url(image)
        assert url.startswith("data:image/png;base64,")
        assert load(url).digest == load(picture(9, 7)).digest


@pytest.mark.parametrize("content", [b"root:x:0:0", b"", None])
def test_a_file_that_is_no_image_stays_here(
    server: CloudServer, cloud: Cloud, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "passwd").write_bytes(content)
    turn = {"role": "user", "content": "?", "images": [str(tmp_path / "passwd")]}
    _, reply = asked(cloud, [turn])
    assert reply.error is not None and reply.error.code == "image"
    assert server.received == []


def test_what_the_answer_must_be_is_passed_on(server: CloudServer, cloud: Cloud) -> None:
    from cactus.cloud import openai

    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    turns = parse_messages(HELLO)
    settings = cloud.asker.settings
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]

    def sent(**fields: Any) -> dict[str, Any]:
        return openai.body(settings, Question(turns, **fields))

    assert sent(schema=schema)["response_format"]["json_schema"]["schema"] == schema
    assert sent(schema={})["response_format"] == {"type": "json_object"}
    assert sent(tools=tools, tool_choice="required")["tool_choice"] == "required"
    assert sent(tools=tools, tool_choice="f")["tool_choice"]["function"] == {"name": "f"}
    assert sent(tools=tools, parallel_tool_calls=False)["parallel_tool_calls"] is False
    assert "tool_choice" not in sent(tools=tools) and "response_format" not in sent()


def test_anthropic_is_asked_by_the_same_door(server: CloudServer) -> None:
    cloud = Cloud(KEY, server.url, "claude", api="anthropic", certificates=server.authority)
    block = {"type": "text", "text": "from Anthropic"}
    whole = {"content": [block], "stop_reason": "end_turn", "usage": {"input_tokens": 2}}
    server.behave(sends(json.dumps(whole).encode()))
    text, reply = asked(cloud)
    assert (text, reply.finish_reason, reply.tokens_read) == ("from Anthropic", "stop", 2)
    sent = server.last
    assert sent.path == "/v1/messages" and sent.headers["x-api-key"] == KEY
    assert "authorization" not in sent.headers and sent.headers["anthropic-version"]
    server.behave(
        streams(
            b"event: message_start\n" + event({"type": "message_start", "message": {}}),
            event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "in "}}),
            event({"type": "ping"}),
            event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "two"}}),
            event({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}),
        )
    )
    text, reply = asked(cloud, streamed=True)
    assert (text, reply.finish_reason, reply.error) == ("in two", "length", None)
    server.behave(refuses(529, f"Overloaded {KEY}"))
    _, reply = asked(cloud)
    assert reply.error is not None and reply.error.code == "http_529"
    assert KEY not in str(reply.error) and len(server.received) == 3


@pytest.mark.fault("F79")
def test_a_proxy_of_the_environment_sees_no_key(
    server: CloudServer, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = b""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one() -> None:
            nonlocal heard
            connection, _ = listener.accept()
            with connection:
                heard = connection.recv(65536)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=serve_one)
        thread.start()
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        # Named so, because proxies are not used for this machine.
        _, reply = asked(Cloud(KEY, "https://cloud.example/v1", "m"))
        thread.join(5)
    assert heard.startswith(b"CONNECT cloud.example:443") and KEY.encode() not in heard
    assert reply.error is not None and reply.error.code == "connection"


# -- ending it


def gone(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("behaviour", [hangs, drips, refuses(429, Retry_After="5")])
def test_a_question_can_be_taken_back_at_once(
    server: CloudServer, cloud: Cloud, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    exchange, _ = begin(cloud)
    assert gone(lambda: bool(server.received))
    exchange.close()
    assert exchange.reply is not None and exchange.reply.error is not None
    assert exchange.reply.error.code == "cancelled"
    assert gone(lambda: server.open_connections == 0)


def test_a_question_is_taken_back_while_a_name_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, looked = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> Any:
        looked.set()
        over.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    exchange, _ = begin(Cloud(KEY, "https://slow.example/v1", "m"))
    assert looked.wait(5)
    exchange.close()
    assert exchange.reply is not None and not exchange._thread.is_alive()
    over.set()


def test_a_question_that_nobody_waits_for_ends(server: CloudServer, cloud: Cloud) -> None:
    server.behave(hangs)
    exchange, _ = begin(cloud)
    thread = exchange._thread
    assert gone(lambda: bool(server.received))
    del exchange
    gc.collect()
    thread.join(5)
    assert not thread.is_alive() and gone(lambda: server.open_connections == 0)


def test_a_question_that_was_not_begun_leaves_nothing(cloud: Cloud) -> None:
    exchange = cloud.asker.ask(parse_messages(HELLO), Options(), streamed=False, wake=lambda: None)
    exchange.close()
    exchange.close()


def test_a_message_that_has_begun_is_not_asked_elsewhere(server: CloudServer, cloud: Cloud) -> None:
    turns = [*HELLO, {"role": "assistant", "content": "I am"}]
    _, reply = asked(cloud, turns)
    assert reply.error is not None and reply.error.code == "continued"
    assert server.received == []
    assert asked(cloud, turns, continue_final_message=False)[0] == "from the cloud"
