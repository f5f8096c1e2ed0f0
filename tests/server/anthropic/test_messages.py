"""Anthropic's own client against ``/v1/messages``."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from cactus.model import Model
from tests.generate.scripted import saying
from tests.server.anthropic.conftest import Ask

HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOL: Any = {
    "name": "get_weather",
    "description": "Get weather for a location",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"location": "Köln}"}}</tool_call>'


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_an_answer_is_that_of_the_model(tiny: Model, client: Anthropic) -> None:
    want = tiny.chat(HELLO, max_tokens=20)
    tiny.reset()
    got = client.messages.create(model="tiny", messages=HELLO, max_tokens=20)
    assert text_of(got) == want.text
    assert got.role == "assistant" and got.type == "message" and got.model == "tiny"
    assert got.stop_reason == ("max_tokens" if want.finish_reason == "length" else "end_turn")
    assert got.usage.output_tokens == want.metrics.decode_tokens
    assert got.usage.input_tokens == tiny.count_tokens(HELLO)


def test_a_stream_says_the_same(tiny: Model, client: Anthropic) -> None:
    want = tiny.chat(HELLO, max_tokens=20)
    with client.messages.stream(model="tiny", messages=HELLO, max_tokens=20) as stream:
        kinds = [event.type for event in stream]
        got = stream.get_final_message()
    assert text_of(got) == want.text
    assert got.usage.output_tokens == want.metrics.decode_tokens
    raw = [kind for kind in kinds if kind not in ("text",)]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_without_a_temperature_it_is_the_makers(tiny: Model, client: Anthropic) -> None:
    want = tiny.chat(HELLO, max_tokens=8, sampling="model")
    got = client.messages.create(model="tiny", messages=HELLO, max_tokens=8)
    assert tiny.sampling_defaults.source == "none"  # and so it is greedy
    assert text_of(got) == want.text


def test_options_of_sampling_reach_the_model(tiny: Model, client: Anthropic) -> None:
    told: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 16}
    for options in ({"temperature": 1.0, "top_k": 1}, {"temperature": 1.0, "top_p": 0.0}):
        got = client.messages.create(**told, extra_body=options)
        assert text_of(got) == tiny.chat(HELLO, max_tokens=16).text  # the likeliest, nevertheless
    assert text_of(client.messages.create(**{**told, "max_tokens": 3})) == (
        tiny.chat(HELLO, max_tokens=3).text
    )


def test_system_texts_and_turns_make_the_models_prompt(tiny: Model, client: Anthropic) -> None:
    said: Any = [
        {"role": "user", "content": "One"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "T"}, {"type": "text", "text": "wo"}],
        },
        {"role": "user", "content": [{"type": "text", "text": "Three"}]},
    ]
    meant: Any = [
        {"role": "system", "content": "Be\nbrief"},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]
    system: Any = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}]
    got = client.messages.create(model="tiny", messages=said, system=system, max_tokens=12)
    assert text_of(got) == tiny.chat(meant, max_tokens=12).text
    count = client.messages.count_tokens(model="tiny", messages=said, system=system)
    assert count.input_tokens == tiny.count_tokens(meant)
    plain = client.messages.count_tokens(model="tiny", messages=said, system="Be\nbrief")
    assert plain == count


def test_a_last_assistant_message_is_continued(tiny: Model, client: Anthropic) -> None:
    begun: Any = [*HELLO, {"role": "assistant", "content": "Hi, I"}]
    got = client.messages.create(model="tiny", messages=begun, max_tokens=9)
    assert text_of(got) == tiny.chat(begun, max_tokens=9).text


def test_a_stop_sequence_is_named(saying_client: Ask) -> None:
    client = saying_client(saying("one, two; three"))
    told: Any = {"model": "scripted", "messages": HELLO, "max_tokens": 50}
    got = client.messages.create(stop_sequences=["; ", ";"], **told)
    assert (text_of(got), got.stop_reason, got.stop_sequence) == ("one, two", "stop_sequence", ";")
    with client.messages.stream(stop_sequences=["nothing", ", "], **told) as stream:
        got = stream.get_final_message()
    assert (text_of(got), got.stop_reason, got.stop_sequence) == ("one", "stop_sequence", ", ")
    got = client.messages.create(stop_sequences=["nothing"], **told)
    assert (got.stop_reason, got.stop_sequence) == ("end_turn", None)


def test_where_the_context_ends_it_says_so(saying_client: Ask) -> None:
    client = saying_client(saying("x" * 500), context=100)
    told: Any = {"model": "scripted", "messages": HELLO}
    got = client.messages.create(max_tokens=20_000, **told)
    assert got.stop_reason == "model_context_window_exceeded"
    assert got.usage.input_tokens + got.usage.output_tokens == 100
    assert client.messages.create(max_tokens=5, **told).stop_reason == "max_tokens"
    assert client.messages.create(max_tokens=0, **told).content == []


def test_a_call_and_its_result_go_round(saying_client: Ask) -> None:
    client = saying_client(saying(f"Let me see. {CALL}"))
    told: Any = {"model": "scripted", "max_tokens": 200, "tools": [TOOL]}
    got = client.messages.create(messages=HELLO, **told)
    assert got.stop_reason == "tool_use"
    text, call = got.content
    assert text.type == "text" and text.text.strip() == "Let me see."
    assert call.type == "tool_use" and call.name == "get_weather"
    assert call.input == {"location": "Köln}"} and call.id.startswith("toolu_")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain", "is_error": True}
    more: Any = [*HELLO, got.to_param(), {"role": "user", "content": [result]}]
    client.messages.create(messages=more, **told)
    program = client.model._engine.program  # type: ignore[attr-defined]
    prompt = bytes(token for token in program.sessions[-1].tokens if token < 256).decode()
    assert "Error: Rain" in prompt and "Köln}" in prompt


def test_a_streamed_call_comes_in_pieces_that_join(saying_client: Ask) -> None:
    client = saying_client(saying(f"So: {CALL}{CALL}"))
    told: Any = {"model": "scripted", "max_tokens": 400, "tools": [TOOL]}
    with client.messages.stream(messages=HELLO, **told) as stream:
        events = list(stream)
        got = stream.get_final_message()
    pieces: dict[int, str] = {}
    for event in events:
        if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            pieces[event.index] = pieces.get(event.index, "") + event.delta.partial_json
    assert [block.type for block in got.content] == ["text", "tool_use", "tool_use"]
    assert got.content[1].input == {"location": "Köln}"}
    assert set(pieces) == {1, 2} and got.stop_reason == "tool_use"
    once = {**told, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    one = client.messages.create(messages=HELLO, **once)
    assert [block.type for block in one.content] == ["text", "tool_use"]


def test_what_only_began_like_a_call_is_text(saying_client: Ask) -> None:
    broken = '<tool_call>{"name": "get_weather", "arguments": {"loc'
    client = saying_client(saying(broken))
    told: Any = {"model": "scripted", "max_tokens": 200, "tools": [TOOL]}
    got = client.messages.create(messages=HELLO, **told)
    with client.messages.stream(messages=HELLO, **told) as stream:
        streamed = stream.get_final_message()
    assert text_of(got) == text_of(streamed) == broken
    assert got.stop_reason == streamed.stop_reason == "end_turn"


def test_a_forced_tool_is_called(tiny: Model, client: Anthropic) -> None:
    told: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 120, "tools": [TOOL]}
    definition = {"type": "function", "function": {
        "name": "get_weather", "description": TOOL["description"],
        "parameters": TOOL["input_schema"]}}  # fmt: skip
    want = tiny.chat(HELLO, max_tokens=120, tools=[definition], tool_choice="get_weather")
    for choice in ({"type": "tool", "name": "get_weather"}, {"type": "any"}):
        got = client.messages.create(**told, tool_choice=choice)  # type: ignore[arg-type]
        calls = [block.input for block in got.content if block.type == "tool_use"]
        assert calls == [call["arguments"] for call in want.function_calls]
    none = client.messages.create(**told, tool_choice={"type": "none"})
    assert text_of(none) == tiny.chat(HELLO, max_tokens=120).text


THINKING = (
    "{% for m in messages %}{{ m.role[0] }}:{% if m.reasoning_content %}<think>"
    "{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}\n{% endfor %}a:"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


def test_thoughts_are_blocks_of_their_own(saying_client: Ask) -> None:
    client = saying_client(saying("<think>Hm, well.</think>Yes."), template=THINKING)
    told: Any = {"model": "scripted", "messages": HELLO, "max_tokens": 2000}
    told["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    got = client.messages.create(**told)
    thought, text = got.content
    assert thought.type == "thinking" and thought.thinking == "Hm, well." and thought.signature
    assert text.type == "text" and text.text == "Yes."
    with client.messages.stream(**told) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_message().to_dict()["content"] == got.to_dict()["content"]
    assert "thinking" in kinds and "signature" in kinds
    told["thinking"]["display"] = "omitted"
    hidden = client.messages.create(**told).content[0]
    assert hidden.type == "thinking" and hidden.thinking == ""
    assert hidden.signature == thought.signature
    # and they go back to the model
    redacted = {"type": "redacted_thinking", "data": "xyz"}
    param: Any = {"role": "assistant", "content": [redacted, *got.to_param()["content"]]}
    more: Any = [*HELLO, param, {"role": "user", "content": "Sure?"}]
    client.messages.create(**{**told, "messages": more})
    program = client.model._engine.program  # type: ignore[attr-defined]
    prompt = bytes(token for token in program.sessions[-1].tokens if token < 256).decode()
    assert "a:<think>Hm, well.</think>Yes.\nu:Sure?" in prompt


def test_thinking_is_switched(saying_client: Ask) -> None:
    client = saying_client(saying("Yes."), template=THINKING)

    def count(thinking: Any) -> int:
        told: Any = {"model": "scripted", "messages": HELLO, "thinking": thinking}
        return client.messages.count_tokens(**told).input_tokens

    on = count({"type": "enabled", "budget_tokens": 2048})
    assert count({"type": "adaptive"}) == on
    assert count({"type": "disabled"}) == on + len("<think></think>")


def test_what_was_read_before_is_counted_apart(tiny: Model, client: Anthropic) -> None:
    tiny.reset()
    told: Any = {"model": "tiny", "max_tokens": 4}
    long = "A long beginning. " * 8
    cold = client.messages.create(messages=[{"role": "user", "content": long}], **told).usage
    total = tiny.count_tokens([{"role": "user", "content": long}])
    assert (cold.input_tokens, cold.cache_read_input_tokens) == (total, 0)
    text = {"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}
    marked = client.messages.create(messages=[{"role": "user", "content": [text]}], **told).usage
    assert marked.cache_read_input_tokens and marked.input_tokens == 0
    read, made = marked.cache_read_input_tokens, marked.cache_creation_input_tokens
    assert made is not None and read + made == total
    again: Any = [{"role": "user", "content": [text]}]
    with client.messages.stream(messages=again, **told) as stream:
        first = next(event.message.usage for event in stream if event.type == "message_start")
    # some clients add up what both ends say
    assert (first.input_tokens, first.cache_creation_input_tokens) == (0, total)
    with client.messages.stream(messages=[{"role": "user", "content": long}], **told) as stream:
        usage = stream.get_final_message().usage
    assert usage.cache_read_input_tokens
    assert usage.input_tokens + usage.cache_read_input_tokens == total


def test_json_is_kept_to(tiny: Model, client: Anthropic) -> None:
    schema: Any = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    got = client.messages.create(
        model="tiny",
        messages=HELLO,
        max_tokens=60,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    form = {"type": "json_schema", "json_schema": {"schema": schema, "strict": True}}
    want = tiny.chat(HELLO, max_tokens=60, response_format=form)
    assert text_of(got) == want.text and want.parsed is not None


def test_models_are_listed_in_its_own_shape(client: Anthropic) -> None:
    (found,) = client.models.list().data
    assert (found.id, found.type, found.lifecycle) == ("tiny", "model", "active")
    assert client.models.retrieve("tiny") == found
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("other")
