"""What a caller may give as messages, and what the error says where it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.chat.messages import Message, parse_messages
from cactus.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}


def test_a_list_and_its_json_are_the_same() -> None:
    messages = [USER, {"role": "assistant", "content": "é 你 😀"}]
    assert parse_messages(messages) == parse_messages(json.dumps(messages))
    assert parse_messages(json.dumps(messages).encode()) == parse_messages(tuple(messages))
    assert [(m.role, m.content) for m in parse_messages(messages)] == [
        ("user", "hi"),
        ("assistant", "é 你 😀"),
    ]


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    ("messages", "error"),
    [
        (None, r"messages: expected a list such as .* got null"),
        ("", r"messages: expected a text or a list of messages, got an empty string"),
        (' [ { "role": "user"', r"messages: expected valid JSON, got ' \[ "),
        ("[{'role': 'user', 'content': 'x'}]", r"messages: expected valid JSON"),
        ('{"role": "user", "content": "x"}', r"messages: expected a list .* got one message"),
        ("[[]]", r"messages\[0\]: expected an object"),
        (b"\xff", r"messages: expected UTF-8"),
        (7, r"messages: expected a list .* got 7"),
        (USER, r"messages: expected a list .* got one message: put it in a list"),
        ([], r"messages: expected at least one message .* got \[\]"),
        ("[]", r"messages: expected at least one message"),
        ([{}], r"messages\[0\]\.role: expected one of system, .* got none"),
        ([USER, "hi"], r"messages\[1\]: expected an object .* got 'hi'"),
        ([None], r"messages\[0\]: expected an object .* got null"),
        ([{"role": 123, "content": ""}], r"messages\[0\]\.role: .* got 123"),
        ([{"role": None, "content": ""}], r"messages\[0\]\.role: .* got null"),
        ([{"role": ["user"], "content": ""}], r"messages\[0\]\.role: .* got a list of 1"),
        ([USER] * 3 + [{"role": "robot", "content": ""}], r"messages\[3\]\.role: .* got 'robot'"),
        ([USER, {"role": "user"}], r"messages\[1\]\.content: expected a string .* got none"),
        ([{"role": "user", "content": None}], r"messages\[0\]\.content: .* got null"),
        ([{"role": "user", "content": 123}], r"messages\[0\]\.content: .* got 123"),
        ([{"role": "user", "content": {"a": 1}}], r"messages\[0\]\.content: .* got an object"),
        ([{"role": "user", "content": [1]}], r"messages\[0\]\.content\[0\]\.type: .* got 1"),
        ([{"role": "user", "content": ["a"]}], r"content\[0\]\.type: .* got 'a'"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\]\.text: .* got null"),
        (
            [{"role": "user", "content": [{"type": "input_audio"}]}],
            r"messages\[0\]\.content\[0\]\.type: expected 'text', .* got 'input_audio'",
        ),
        ([{"role": "user", "content": [{"type": "image"}]}], r"content\[0\]: expected the image"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}],
            r"content\[0\]\.image_url\.url: expected a path, a URL, bytes, .*got 5",
        ),
        ([{**USER, "images": "a.png"}], r"messages\[0\]\.images: expected a list .* got 'a.png'"),
        ([{**USER, "images": [""]}], r"messages\[0\]\.images\[0\]: expected a path"),
        ([{**USER, "name": 5}], r"messages\[0\]\.name: expected a string, got 5"),
        ([{**USER, "x": object()}], r"messages\[0\]\.x: expected a JSON value"),
        ([{**USER, "x": {1: 2}}], r"messages\[0\]\.x: expected strings as keys, got 1"),
        ([{**USER, "x": float("nan")}], r"messages\[0\]\.x: expected a finite number, got nan"),
        ('[{"role": "user", "content": "", "x": NaN}]', r"messages: NaN is not JSON"),
        ('[{"role": "user", "content": "", "x": -Infinity}]', r"messages: -Infinity is not JSON"),
        ('[{"role": "user", "content": "", "x": 1e999}]', r"messages\[0\]\.x: .* got inf"),
        ('[{"role":"user","content":"","x":' + "[" * 80 + "]" * 80 + "}]", r"nested more than 64"),
        ('[{"role": "user", "content": "", "x": ' + "9" * 5000 + "}]", r"messages: .* valid JSON"),
        (
            [{"role": "assistant", "tool_calls": 5}],
            r"messages\[0\]\.tool_calls: expected a list of tool calls, got 5",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": 3}}]}],
            r"messages\[0\]\.tool_calls\[0\]\.function\.name: expected a string, got 3",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": [1]}]}],
            r"messages\[0\]\.tool_calls\[0\]\.arguments: expected an object .* got a list of 1",
        ),
        (
            [USER, {"role": "assistant", "content": None, "tool_calls": []}],
            r"messages\[1\]\.content: expected a string .* got null",
        ),
        ([{"role": "tool", "content": "", "tool_call_id": 7}], r"tool_call_id: expected a string"),
    ],
)
def test_what_is_wrong_is_named(messages: Any, error: str) -> None:
    with pytest.raises(InvalidRequest, match=error) as caught:
        parse_messages(messages)
    assert len(str(caught.value)) < 300


@pytest.mark.fault("F28")
def test_a_list_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidRequest, match="nested more than 64"):
        parse_messages([{**USER, "x": loop}])
    with pytest.raises(InvalidRequest, match=r"messages\[0\]: expected an object"):
        parse_messages(loop)


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ""}],
        [{"role": "system", "content": "only system"}],
        [USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"role": "tool", "content": "no id"}],
        [{"role": "developer", "content": "x"}],
        [{"role": "user", "content": []}],
    ],
)
def test_what_a_template_may_decide_about_is_accepted(messages: list[Any]) -> None:
    assert [message.role for message in parse_messages(messages)] == [m["role"] for m in messages]


def test_text_parts_are_joined_by_newlines() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]
    [message] = parse_messages([{"role": "user", "content": [*content, content[0]]}])
    assert message.content == "a\n\na"
    assert message.to_template()["content"] == "a\n\na"


def test_images_of_both_forms_keep_their_order() -> None:
    content = [
        {"type": "text", "text": "which"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": "file.png"},
        {"type": "image", "image": Path("dir") / "b.png"},
        {"type": "image", "path": b"\x89PNG"},
    ]
    [message] = parse_messages([{"role": "user", "content": content, "images": ["first.png"]}])
    assert message.images == (
        *("first.png", "data:image/png;base64,AA==", "file.png", "dir/b.png", b"\x89PNG"),
    )
    kinds = [part["type"] for part in message.to_template()["content"]]
    assert kinds == ["image", "text", "image", "image", "image", "image"]
    assert "images" not in message.to_template()


def test_an_image_of_pixels_is_not_copied_to_be_known_as_one() -> None:
    class Image:
        @property
        def __array_interface__(self) -> Any:
            raise ValueError("the file is closed")

    image = Image()
    [message] = parse_messages([{"role": "user", "content": "?", "images": [image]}])
    assert message.images == (image,)


def test_tool_calls_come_in_openai_form_with_arguments_read() -> None:
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}},
        {"name": "g", "arguments": {"b": 2}},
        {"name": "h"},
        {"name": "i", "arguments": "not JSON"},
    ]
    [message] = parse_messages([{"role": "assistant", "content": None, "tool_calls": calls}])
    assert [call["function"] for call in message.tool_calls] == [
        {"name": "f", "arguments": {"a": [1]}},
        {"name": "g", "arguments": {"b": 2}},
        {"name": "h", "arguments": {}},
        {"name": "i", "arguments": "not JSON"},
    ]
    assert message.tool_calls[0]["id"] == "1"
    turn = message.to_template()
    assert "content" not in turn
    assert turn["tool_calls"] == list(message.tool_calls)


def test_a_template_sees_what_else_was_given_in_order() -> None:
    given_ = {"name": "Ada", "role": "user", "mood": {"x": [1, None]}, "content": "hi", "no": None}
    [message] = parse_messages([given_])
    assert message.to_template() == {
        "role": "user",
        "name": "Ada",
        "mood": {"x": [1, None]},
        "content": "hi",
    }
    assert message.name == "Ada"


def test_reasoning_is_seen_under_each_of_its_names() -> None:
    for name in ("reasoning_content", "reasoning", "thinking"):
        [message] = parse_messages([{"role": "assistant", "content": "a", name: "because"}])
        turn = message.to_template()
        assert turn["reasoning_content"] == turn["thinking"] == "because"


def test_a_message_made_by_hand() -> None:
    assert Message("user", "hi").to_template() == {"role": "user", "content": "hi"}
    assert Message("tool", "4", tool_call_id="c").to_template() == {
        "role": "tool",
        "content": "4",
        "tool_call_id": "c",
    }
    assert parse_messages([Message("user", "hi")]) == [Message("user", "hi")]


@pytest.mark.fault("F29")
def test_surrogates() -> None:
    text = json.dumps([{"role": "user", "content": "x"}]).replace("x", "\\ud83d\\ude00 \\ud800!")
    assert parse_messages(text)[0].content == "😀 \ufffd!"
    assert parse_messages([{"role": "user", "content": "\ud83d\ude00 \udc00"}])[0].content == (
        "😀 \ufffd"
    )


@pytest.mark.fault("F28")
@pytest.mark.timeout(60)
def test_a_hundred_thousand_messages() -> None:
    messages = [USER, {"role": "assistant", "content": "é"}] * 50_000
    assert len(parse_messages(messages)) == 100_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "images", "tool_calls", "name"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.fault("F28")
@settings(max_examples=300, deadline=None)
@given(st.lists(JSON, max_size=3) | JSON)
def test_anything_is_messages_or_an_invalid_request(value: Any) -> None:
    for given_ in (value, json.dumps(value)):
        try:
            messages = parse_messages(given_)
        except InvalidRequest as error:
            assert str(error).startswith("messages")
        else:
            json.dumps([message.to_template() for message in messages])


@pytest.mark.parametrize("text", ["hello", "null", " [", "{}", "[" * 100_000, '"a"', "[a]", "5"])
def test_a_string_that_is_not_a_json_list_is_one_user_message(text: str) -> None:
    for each in (text, text.encode()):
        (message,) = parse_messages(each)
        assert (message.role, message.content) == ("user", text)
