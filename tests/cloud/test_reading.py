"""What services say, in pieces of any size, and in both APIs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.chat.messages import parse_messages
from cactus.cloud import anthropic
from cactus.cloud.anthropic import AnthropicReading
from cactus.cloud.question import Question
from cactus.cloud.settings import make_settings
from cactus.cloud.sse import EventReader
from cactus.errors import CloudError
from tests.cloud_server import KEY

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells.", "parameters": {"type": "object"}},
}
SETTINGS = make_settings("sk-ant-" + KEY, None, "claude")


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.lists(st.text(min_size=1).filter(lambda t: not set(t) & set("\r\n")), min_size=1),
    st.lists(st.integers(1, 7), min_size=1),
    st.sampled_from(["\n", "\r\n"]),
)
def test_events_are_the_same_however_they_are_cut(
    texts: list[str], sizes: list[int], end: str
) -> None:
    whole = "".join(f": comment{end}event: x{end}data: {text}{end}{end}" for text in texts).encode()
    reader, found = EventReader(), []
    at = n = 0
    while at < len(whole):
        size = sizes[n % len(sizes)]
        found += reader.feed(whole[at : at + size])
        at, n = at + size, n + 1
    assert found == texts


def test_an_event_of_several_lines_is_one() -> None:
    assert EventReader().feed(b"data: a\ndata:b\n\nid: 3\n\ndata: c\n\n") == ["a\nb", "c"]


def question(*turns: dict[str, Any], **fields: Any) -> Question:
    given = turns or ({"role": "user", "content": "Hi"},)
    return Question(parse_messages(list(given)), **fields)


def test_anthropics_messages_alternate_and_name_every_call() -> None:
    sent = anthropic.body(
        SETTINGS,
        question(
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "What is", "images": ["data:image/png;base64,AAAA"]},
            {"role": "user", "content": "the time?"},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "clock"}]},
            {"role": "tool", "content": "noon"},
            {"role": "user", "content": "And?"},
            tools=[TOOL],
            max_tokens=9,
        ),
    )
    assert sent["system"] == "Be kind." and sent["max_tokens"] == 9
    roles = [turn["role"] for turn in sent["messages"]]
    assert roles == ["user", "assistant", "user"]
    first, second, third = (turn["content"] for turn in sent["messages"])
    assert [block["type"] for block in first] == ["image", "text", "text"]
    assert first[0]["source"] == {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert second == [{"type": "tool_use", "id": "call_1", "name": "clock", "input": {}}]
    assert third[0] == {"type": "tool_result", "tool_use_id": "call_1", "content": "noon"}
    assert sent["tools"] == [
        {"name": "clock", "description": "Tells.", "input_schema": {"type": "object"}}
    ]
    assert anthropic.headers(SETTINGS)["x-api-key"] == "sk-ant-" + KEY


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "clock"}, {"type": "tool", "name": "clock"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_anthropics_choice_of_tools(fields: dict[str, Any], choice: Any) -> None:
    assert anthropic.body(SETTINGS, question(tools=[TOOL], **fields)).get("tool_choice") == choice


def test_anthropic_answers_whole() -> None:
    reading = AnthropicReading(question(tools=[TOOL]))
    reading.whole(
        {
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "At "},
                {"type": "tool_use", "id": "x", "name": "clock", "input": {"zone": "UTC"}},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }
    )
    reading.check_whole()
    assert (reading.take(), reading.reason, reading.usage) == ("At ", "tool_calls", (3, 4))
    assert reading.function_calls() == ({"name": "clock", "arguments": {"zone": "UTC"}},)


def test_anthropic_streams() -> None:
    reading = AnthropicReading(question(tools=[TOOL]))
    start, more, end = "content_block_start", "content_block_delta", "message_delta"
    for event in (
        {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": start, "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": more, "index": 0, "delta": {"type": "text_delta", "text": "It "}},
        {"type": more, "index": 0, "delta": {"type": "text_delta", "text": "is"}},
        {
            "type": start,
            "index": 1,
            "content_block": {"type": "tool_use", "name": "clock", "input": {}},
        },
        {"type": more, "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a"'}},
        {"type": more, "index": 1, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}},
        {"type": end, "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ):
        reading.event(event)
    reading.check_whole()
    assert (reading.take(), reading.reason, reading.usage) == ("It is", "tool_calls", (3, 9))
    assert reading.function_calls() == ({"name": "clock", "arguments": {"a": 1}},)


def test_anthropic_gives_json_by_the_input_of_a_tool() -> None:
    schema = {"properties": {"a": {"type": "integer"}}}
    asked = question(schema=schema)
    sent = anthropic.body(SETTINGS, asked)
    assert sent["tools"][0]["input_schema"] == {"type": "object", **schema}
    assert sent["tool_choice"] == {"type": "tool", "name": "answer"}
    reading = AnthropicReading(asked)
    block = {"type": "tool_use", "name": "answer", "input": {"a": 5}}
    reading.whole({"content": [block], "stop_reason": "tool_use"})
    assert json.loads(reading.take()) == {"a": 5} and reading.finish_reason == "stop"
    assert reading.function_calls() == ()
    with pytest.raises(CloudError, match="tools beside it"):
        anthropic.body(SETTINGS, question(schema=schema, tools=[TOOL]))


@pytest.mark.fault("F77")
@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"content": "text"},
        {"content": [5], "stop_reason": "end_turn"},
        {"content": [{"type": "text"}], "stop_reason": "end_turn"},
        {"content": [], "stop_reason": "end_turn"},
        {"content": [{"type": "text", "text": "x"}], "stop_reason": "refusal"},
        {"content": [{"type": "tool_use", "name": "rm", "input": {}}], "stop_reason": "tool_use"},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        None,
    ],
)
def test_what_anthropic_does_not_say_is_an_error(reply: Any) -> None:
    reading = AnthropicReading(question(tools=[TOOL]))
    with pytest.raises(CloudError):
        reading.whole(reply)
        reading.check_whole()
        reading.function_calls()


@pytest.mark.fault("F77")
@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"type": "content_block_delta", "delta": {"type": "text_delta"}},
        {"type": "content_block_start", "index": "x", "content_block": {"type": "tool_use"}},
        {"type": "content_block_start", "index": -1, "content_block": {"type": "tool_use"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ],
)
def test_a_damaged_event_of_anthropic_is_an_error(event: Any) -> None:
    with pytest.raises(CloudError):
        AnthropicReading(question()).event(event)
