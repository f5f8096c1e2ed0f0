"""OpenAI's own client, in its strictest mode, against ``/v1/chat/completions``."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel

from cactus.model import Model
from tests.generate.scripted import WEATHER, saying

HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOL: Any = {"type": "function", "function": WEATHER}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"location": "Köln}"}}</tool_call>'
ARGUMENTS = '{"location": "Köln}"}'


def joined(chunks: Any) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_an_answer_is_that_of_the_model(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    want = tiny_server[1].chat(HELLO, max_tokens=20)
    got = tiny.chat.completions.create(model="tiny", messages=HELLO, max_tokens=20, temperature=0)
    (choice,) = got.choices
    assert choice.message.content == want.text
    assert choice.finish_reason == want.finish_reason
    assert got.usage is not None and got.usage.prompt_tokens_details is not None
    assert got.usage.completion_tokens == want.metrics.decode_tokens
    assert got.usage.prompt_tokens == tiny_server[1].count_tokens(HELLO)
    assert got.model == "tiny" and got.system_fingerprint.startswith("fp_")


def test_a_stream_says_the_same(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    want = tiny_server[1].chat(HELLO, max_tokens=20)
    chunks = list(
        tiny.chat.completions.create(
            model="tiny",
            messages=HELLO,
            max_tokens=20,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert joined(chunks) == want.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == want.finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == want.metrics.decode_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_without_a_temperature_it_is_the_makers(
    starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    model = starter_server[1]
    want = model.chat(HELLO, max_tokens=12, sampling="model", seed=3)
    got = starter.chat.completions.create(model=model.name, messages=HELLO, max_tokens=12, seed=3)
    assert got.choices[0].message.content == want.text
    greedy = starter.chat.completions.create(
        model=model.name, messages=HELLO, max_tokens=12, temperature=0
    )
    assert greedy.choices[0].message.content == model.chat(HELLO, max_tokens=12).text


def test_several_choices_have_seeds_of_their_own(
    tiny_server: tuple[str, Model], tiny: OpenAI
) -> None:
    options: Any = {"max_tokens": 8, "temperature": 1.0}
    want = [tiny_server[1].chat(HELLO, seed=7 + n, **options).text for n in range(4)]
    assert len(set(want)) > 1
    told: Any = {"model": "tiny", "messages": HELLO, "n": 4, "seed": 7, **options}
    got = tiny.chat.completions.create(**told)
    assert [choice.message.content for choice in got.choices] == want
    assert [choice.index for choice in got.choices] == [0, 1, 2, 3]
    texts = ["", "", "", ""]
    for chunk in tiny.chat.completions.create(stream=True, **told):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == want


def test_every_option_has_its_effect(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    base: Any = {"max_tokens": 24, "seed": 5, "temperature": 1.3}
    plain = tiny_server[1].chat(HELLO, **base).text
    for ours, theirs in (
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 3}, {"extra_body": {"top_k": 3}}),
        ({"min_p": 0.2}, {"extra_body": {"min_p": 0.2}}),
        ({"repetition_penalty": 1.5}, {"extra_body": {"repetition_penalty": 1.5}}),
        ({"presence_penalty": 2}, {"presence_penalty": 2}),
        ({"frequency_penalty": 2}, {"frequency_penalty": 2}),
        ({"logit_bias": {50: 100}}, {"logit_bias": {"50": 100}}),
        ({"seed": 6}, {"seed": 6}),
        ({"seed": 2**64 - 1}, {"seed": -1}),
        ({"stop": plain[2:4]}, {"stop": plain[2:4]}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"max_tokens": 3}, {"max_completion_tokens": 3}),
    ):
        want = tiny_server[1].chat(HELLO, **{**base, "sampling": "model", **ours})
        told: Any = {**base, **theirs}
        got = tiny.chat.completions.create(model="tiny", messages=HELLO, **told)
        assert got.choices[0].message.content == want.text, ours
        assert want.text != plain, ours


def test_logprobs_are_those_of_the_content(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    want = tiny_server[1].chat(HELLO, max_tokens=9, logprobs=True, top_logprobs=2)
    told: Any = {"max_tokens": 9, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    got = tiny.chat.completions.create(model="tiny", messages=HELLO, **told)
    found = got.choices[0].logprobs
    assert found is not None and found.content is not None and want.token_logprobs is not None
    assert [t.logprob for t in found.content] == [t.logprob for t in want.token_logprobs]
    assert [bytes(t.bytes or ()) for t in found.content] == [t.bytes for t in want.token_logprobs]
    assert all(len(token.top_logprobs) == 2 for token in found.content)
    streamed = [
        token
        for chunk in tiny.chat.completions.create(model="tiny", messages=HELLO, stream=True, **told)
        for token in (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or ()
    ]
    assert streamed == found.content


def test_reasoning_is_apart(serve: Any, strict: Any) -> None:
    url = serve(saying("<think>Two and two.</think>Four"), tags=True, context=4000)
    client = strict(url)
    told: Any = {"model": "scripted", "messages": HELLO, "logprobs": True}
    got = client.chat.completions.create(**told)
    message = got.choices[0].message
    assert (message.content, message.reasoning_content) == ("Four", "Two and two.")
    tokens = got.usage.completion_tokens_details
    assert tokens.reasoning_tokens == len("<think>Two and two.</think>")
    assert "".join(t.token for t in got.choices[0].logprobs.content) == "Four"
    chunks = list(client.chat.completions.create(stream=True, **told))
    thought = [getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks]
    assert ("".join(thought), joined(chunks)) == ("Two and two.", "Four")


def test_calls_of_tools_are_whole_and_valid(serve: Any, strict: Any) -> None:
    client = strict(serve(saying(f"I look.{CALL}{CALL}"), context=4000))
    told: Any = {"model": "scripted", "messages": HELLO, "tools": [TOOL]}
    got = client.chat.completions.create(**told).choices[0]
    assert (got.message.content, got.finish_reason) == ("I look.", "tool_calls")
    assert [call.function.arguments for call in got.message.tool_calls] == [ARGUMENTS] * 2
    assert len({call.id for call in got.message.tool_calls}) == 2
    chunks = [c.choices[0] for c in client.chat.completions.create(stream=True, **told)]
    deltas = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    first = [delta for delta in deltas if delta.id]
    assert [(d.index, d.id, d.function.name, d.function.arguments) for d in first] == [
        (n, call.id, "get_weather", "") for n, call in enumerate(got.message.tool_calls)
    ]
    for n in range(2):
        pieces = [d.function.arguments for d in deltas if d.index == n]
        assert json.loads("".join(pieces)) == {"location": "Köln}"}
    assert chunks[-1].finish_reason == "tool_calls"


def test_one_call_is_enough_where_the_client_says_so(serve: Any, strict: Any) -> None:
    client = strict(serve(saying(f"{CALL}{CALL}"), context=4000))
    got = client.chat.completions.create(
        model="scripted", messages=HELLO, tools=[TOOL], parallel_tool_calls=False
    )
    assert len(got.choices[0].message.tool_calls) == 1


@pytest.mark.fault("F37")
@pytest.mark.parametrize(
    "said",
    [
        '<tool_call>{"name": "get_weather", "arguments": {"location": ',
        '<tool_call>{"name": "launch", "arguments": {}}</tool_call>',
        "<tool_call>oops</tool_call>",
        '<tool_call>{"name": "get_weather", "arguments": {"location": "a"}',
    ],
)
def test_what_is_no_call_is_text_in_streams_too(said: str, serve: Any, strict: Any) -> None:
    client = strict(serve(saying(said), context=4000))
    told: Any = {"model": "scripted", "messages": HELLO, "tools": [TOOL]}
    got = client.chat.completions.create(**told).choices[0]
    assert (got.message.content, got.finish_reason) == (said, "stop")
    assert got.message.tool_calls is None
    chunks = list(client.chat.completions.create(stream=True, **told))
    assert joined(chunks) == said
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "get_weather"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "get_weather"}}],
            },
        },
    ],
)
def test_a_call_that_is_wanted_comes(
    choice: Any, starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    tool: Any = {"type": "function", "function": {**WEATHER, "strict": True}}
    other: Any = {"type": "function", "function": {**tool["function"], "name": "other"}}
    tools = [tool] if choice == "required" else [other, tool]
    told: Any = {"model": starter_server[1].name, "messages": HELLO, "temperature": 0}
    told |= {"tools": tools, "tool_choice": choice, "max_tokens": 100}
    told |= {"parallel_tool_calls": False}
    got = starter.chat.completions.create(**told).choices[0]
    (call,) = got.message.tool_calls or ()
    assert call.type == "function" and call.function.name == "get_weather"
    assert got.finish_reason == "tool_calls"
    with starter.chat.completions.stream(**told) as stream:
        final: Any = stream.get_final_completion().choices[0].message.tool_calls
    assert json.loads(final[0].function.arguments) == json.loads(call.function.arguments)
    assert final[0].id == call.id


def test_no_call_comes_where_none_may(serve: Any, strict: Any) -> None:
    client = strict(serve(saying(CALL), context=4000))
    got = client.chat.completions.create(
        model="scripted", messages=HELLO, tools=[TOOL], tool_choice="none"
    )
    assert got.choices[0].message.tool_calls is None


class City(BaseModel):
    name: str
    size: Literal["small", "large"]


def test_an_answer_is_parsed_by_the_client(
    starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    told: Any = {"model": starter_server[1].name, "max_tokens": 200, "temperature": 0}
    told["messages"] = [{"role": "user", "content": "Name a city."}]
    got = starter.chat.completions.parse(response_format=City, **told)
    assert isinstance(got.choices[0].message.parsed, City)
    with starter.chat.completions.stream(response_format=City, **told) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == got.choices[0].message.parsed


def test_an_answer_is_json_where_that_is_wanted(
    starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    got = starter.chat.completions.create(
        model=starter_server[1].name,
        messages=HELLO,
        max_tokens=60,
        temperature=0,
        response_format={"type": "json_object"},
    )
    assert isinstance(json.loads(got.choices[0].message.content or ""), dict)


def test_all_forms_of_messages_are_taken(serve: Any, strict: Any) -> None:
    """What is shown is that the prompt is the same as of the plain form."""
    seen: list[list[int]] = []

    def script(history: list[int], answered: int) -> int:
        if answered == 0:
            seen.append(list(history))
        return saying("ok")(history, answered)  # type: ignore[return-value]

    client = strict(serve(script, context=4000))

    def prompt(*messages: Any) -> str:
        client.chat.completions.create(model="scripted", messages=list(messages))
        return bytes(seen[-1]).decode()

    user = {"role": "user", "content": "Hi"}
    want = prompt({"role": "system", "content": "Be brief.\n\nBe kind."}, user)
    parts = [{"type": "text", "text": "Be kind."}]
    assert want == prompt(
        {"role": "system", "content": "Be brief."}, {"role": "developer", "content": parts}, user
    )
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}
    told = prompt(
        user,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "42"}]},
    )
    assert "42" in told and '"arguments": {}' in told


def test_unknown_models_and_fields_are_named(tiny: OpenAI) -> None:
    with pytest.raises(NotFoundError) as gone:
        tiny.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert gone.value.code == "model_not_found" and gone.value.param == "model"
    with pytest.raises(BadRequestError) as wrong:
        tiny.chat.completions.create(
            model="tiny", messages=HELLO, extra_body={"chat_template": "{{ x }}"}
        )
    assert wrong.value.param == "chat_template"


def test_what_changes_no_answer_is_accepted(tiny: OpenAI) -> None:
    got = tiny.chat.completions.create(
        model="tiny",
        messages=HELLO,
        max_tokens=2,
        user="me",
        store=True,
        metadata={"a": "b"},
        service_tier="flex",
        reasoning_effort="high",
        verbosity="medium",
        modalities=["text"],
        prediction={"type": "content", "content": "x"},
        safety_identifier="me",
        prompt_cache_key="k",
        stop=[],
        tools=[],
        extra_body={"chat_template_kwargs": {"enable_thinking": False}, "unknown": 1},
    )
    assert got.service_tier == "default" and got.metadata == {"a": "b"}


def test_models_are_listed_and_shown(tiny: OpenAI) -> None:
    (one,) = tiny.models.list().data
    assert one.id == "tiny" and tiny.models.retrieve("tiny") == one
    assert tiny.models.retrieve("tiny:latest") == one
    with pytest.raises(NotFoundError):
        tiny.models.retrieve("other/model")
