"""LiteLLM: chats, streams, tools, completions and responses."""

import json

import litellm
from steps import MODEL, URL, run

TOLD = {
    "model": f"openai/{MODEL}",
    "api_base": f"{URL}/v1",
    "api_key": "none",
    "temperature": 0,
    "max_tokens": 100,
}
HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}


def chats() -> None:
    assert litellm.completion(messages=HELLO, **TOLD).choices[0].message.content


def streams() -> None:
    whole = litellm.completion(messages=HELLO, **TOLD).choices[0].message.content
    told = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(messages=HELLO, **told, **TOLD))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0


def tools() -> None:
    told = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}
    said = litellm.completion(messages=HELLO, **told, **TOLD).choices[0]
    (call,) = said.message.tool_calls
    assert "location" in json.loads(call.function.arguments)
    chunks = list(litellm.completion(messages=HELLO, stream=True, **told, **TOLD))
    built = litellm.stream_chunk_builder(chunks, messages=HELLO)
    (other,) = built.choices[0].message.tool_calls
    assert json.loads(other.function.arguments) == json.loads(call.function.arguments)


def completions() -> None:
    told = {**TOLD, "model": f"text-completion-openai/{MODEL}"}
    assert litellm.text_completion(prompt="Once upon a", **told).choices[0].text


def responses() -> None:
    told = {key: TOLD[key] for key in ("model", "api_base", "api_key", "temperature")}
    got = litellm.responses(input="Say hello.", max_output_tokens=40, **told)
    assert got.output[0].content[0].text
    events = list(litellm.responses(input="Say hello.", max_output_tokens=40, stream=True, **told))
    assert events


run(chats, streams, tools, completions, responses)
