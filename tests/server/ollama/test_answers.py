"""Ollama's own client against ``/api/chat`` and ``/api/generate``."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import ollama
import pytest
from ollama import Client

from cactus.model import Model
from tests.generate.scripted import WEATHER, saying
from tests.server.ollama.conftest import Ask
from tests.server.running import serving, until
from tests.vision.tiny import png

HELLO: Any = [{"role": "user", "content": "Hello!"}]
COLD: Any = {"num_predict": 20, "temperature": 0}
TOOL: Any = {"type": "function", "function": WEATHER}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"location": "Köln}"}}</tool_call>'


def test_an_answer_is_that_of_the_model(tiny: Model, client: Client) -> None:
    want = tiny.chat(HELLO, max_tokens=20)
    got = client.chat("tiny", HELLO, options=COLD)
    assert got.message.content == want.text and got.message.role == "assistant"
    assert got.done and got.done_reason == want.finish_reason
    assert got.eval_count == want.metrics.decode_tokens
    assert got.prompt_eval_count == tiny.count_tokens(HELLO)
    assert got.total_duration and got.eval_duration and got.prompt_eval_duration
    assert got.total_duration >= got.eval_duration + got.prompt_eval_duration
    assert client.chat("tiny:latest", HELLO, options=COLD).message == got.message


def test_a_stream_says_the_same_and_is_the_default(tiny: Model, client: Client, url: str) -> None:
    want = tiny.chat(HELLO, max_tokens=20)
    lines = list(client.chat("tiny", HELLO, options=COLD, stream=True))
    assert "".join(line.message.content or "" for line in lines) == want.text
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count == want.metrics.decode_tokens
    reply = httpx2.post(
        f"{url}/api/chat", json={"model": "tiny", "messages": HELLO, "options": COLD}
    )
    assert reply.headers["content-type"] == "application/x-ndjson"
    raw = [json.loads(line) for line in reply.text.splitlines()]
    assert "".join(line["message"]["content"] for line in raw) == want.text
    assert all("done_reason" not in line for line in raw[:-1])


def test_a_prompt_is_a_users_message_and_its_context_goes_on(tiny: Model, client: Client) -> None:
    want = tiny.chat(HELLO, max_tokens=20)
    got = client.generate("tiny", "Hello!", options=COLD)
    assert got.response == want.text and got.context
    lines = list(client.generate("tiny", "Hello!", options=COLD, stream=True))
    assert "".join(line.response or "" for line in lines) == want.text
    assert lines[-1].context == got.context
    more = [*HELLO, {"role": "assistant", "content": want.text}, {"role": "user", "content": "So?"}]
    again = client.generate("tiny", "So?", context=got.context, options=COLD)
    assert again.response == tiny.chat(more, max_tokens=20).text
    said = [{"role": "system", "content": "Be brief"}, *more]
    told = client.generate("tiny", "So?", context=got.context, system="Be brief", options=COLD)
    assert told.response == tiny.chat(said, max_tokens=20).text


def test_a_raw_prompt_is_all_that_the_model_reads(tiny: Model, client: Client) -> None:
    raw = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    want = tiny.complete(raw, parse_special=True, max_tokens=20)
    got = client.generate("tiny", raw, raw=True, options=COLD)
    assert got.response == want.text and got.context is None
    assert got.prompt_eval_count == want.metrics.prefill_tokens + want.metrics.cached_tokens


def test_a_suffix_is_what_the_model_writes_up_to(saying_client: Ask) -> None:
    client = saying_client(saying("b"))
    engine = client.model._engine  # type: ignore[attr-defined]
    engine.tokenizer._special |= {f"<|fim_{part}|>": 270 + n for n, part in enumerate(
        ("prefix", "suffix", "middle"))}  # fmt: skip
    assert client.generate("scripted", "a", suffix="c").response == "b"
    assert engine.program.sessions[-1].tokens[:5] == [270, ord("a"), 271, ord("c"), 272]


def test_every_option_has_its_effect(tiny: Model, client: Client) -> None:
    base: Any = {"temperature": 1.3, "seed": 5}
    plain = tiny.chat(HELLO, max_tokens=24, **base).text
    for theirs, ours in (
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 3}, {"top_k": 3}),
        ({"min_p": 0.2}, {"min_p": 0.2}),
        ({"repeat_penalty": 1.5}, {"repetition_penalty": 1.5}),
        (
            {"repeat_penalty": 9.0, "repeat_last_n": 30},
            {"repetition_penalty": 9.0, "repetition_window": 30},
        ),
        ({"presence_penalty": 2}, {"presence_penalty": 2}),
        ({"frequency_penalty": 2}, {"frequency_penalty": 2}),
        ({"seed": 6}, {"seed": 6}),
        ({"stop": [plain[2:4]]}, {"stop": plain[2:4]}),
        ({"num_predict": 3}, {"max_tokens": 3}),
        ({"num_ctx": tiny.count_tokens(HELLO) + 4}, {"max_tokens": 4}),
    ):
        want = tiny.chat(HELLO, **{"max_tokens": 24, **base, **ours}).text
        got = client.chat("tiny", HELLO, options={"num_predict": 24, **base, **theirs})
        assert got.message.content == want, theirs
        assert want != plain, theirs
    off = {"num_predict": 24, **base, "repeat_penalty": 1.5, "repeat_last_n": 0}
    assert client.chat("tiny", HELLO, options=off).message.content == plain


def test_a_prompt_is_rendered_and_tokenised_once(
    saying_client: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = saying_client(saying("x" * 900))
    tokenizer = client.model._engine.tokenizer  # type: ignore[attr-defined]
    encode, seen = tokenizer.encode_prompt, []
    monkeypatch.setattr(tokenizer, "encode_prompt", lambda p: (seen.append(p), encode(p))[1])
    for stream in (False, True):
        told: Any = client.chat("scripted", HELLO, stream=stream, options={"num_ctx": 100})
        last = list(told)[-1] if stream else told
        assert last.done_reason == "length" and last.eval_count + last.prompt_eval_count == 100
    assert len(seen) == 2


def test_without_a_limit_the_context_is_one(saying_client: Ask) -> None:
    client = saying_client(saying("x" * 900), context=700)
    for options in ({}, {"num_predict": -1}, {"num_predict": -2}):
        got = client.chat("scripted", HELLO, options=options)
        assert got.done_reason == "length"
        assert (got.eval_count or 0) + (got.prompt_eval_count or 0) == 700


def test_calls_come_whole(saying_client: Ask) -> None:
    client = saying_client(saying(f"Well: {CALL}"))
    got = client.chat("scripted", HELLO, tools=[TOOL])
    assert got.message.tool_calls is not None
    (call,) = got.message.tool_calls
    assert call.function.name == "get_weather"
    assert dict(call.function.arguments) == {"location": "Köln}"}
    lines = list(client.chat("scripted", HELLO, tools=[TOOL], stream=True))
    streamed = [call for line in lines for call in line.message.tool_calls or ()]
    assert [dict(call.function.arguments) for call in streamed] == [{"location": "Köln}"}]
    assert "".join(line.message.content or "" for line in lines) == got.message.content
    told = {"role": "tool", "tool_name": "get_weather", "content": "Rain"}
    client.chat("scripted", [*HELLO, got.message, told], tools=[TOOL])
    program = client.model._engine.program  # type: ignore[attr-defined]
    prompt = bytes(token for token in program.sessions[-1].tokens if token < 256).decode()
    assert "Köln}" in prompt and "Rain" in prompt


def test_python_functions_are_tools(saying_client: Ask) -> None:
    def get_weather(location: str) -> str:
        """Get the weather.

        Args:
            location: a city
        """
        return location

    client = saying_client(saying(CALL))
    got = client.chat("scripted", HELLO, tools=[get_weather])
    assert got.message.tool_calls is not None


def test_thinking_is_apart_and_can_be_switched(saying_client: Ask) -> None:
    template = (
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}a:"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    client = saying_client(saying("<think>Hm.</think>Yes."), template=template)
    got = client.chat("scripted", HELLO, think=True)
    assert (got.message.thinking, got.message.content) == ("Hm.", "Yes.")
    lines = list(client.chat("scripted", HELLO, think="high", stream=True))
    assert "".join(line.message.thinking or "" for line in lines) == "Hm."
    assert "".join(line.message.content or "" for line in lines) == "Yes."
    assert client.generate("scripted", "Hello!").thinking == "Hm."
    off = client.chat("scripted", HELLO, think=False)
    assert off.prompt_eval_count == (got.prompt_eval_count or 0) + len("<think></think>")


def test_json_and_schemas_are_kept_to(tiny: Model, client: Client) -> None:
    schema: Any = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    options = {"num_predict": 60, "temperature": 0}
    want = tiny.chat(HELLO, max_tokens=60, response_format=form)
    got = client.chat("tiny", HELLO, format=schema, options=options)
    assert got.message.content == want.text and want.parsed is not None
    want = tiny.chat(HELLO, max_tokens=60, response_format={"type": "json_object"})
    assert client.generate("tiny", "Hello!", format="json", options=options).response == want.text


def test_images_are_seen(tiny_vlm: Path) -> None:
    asked: Any = {"role": "user", "content": "What?", "images": [png("square")]}
    with Model(tiny_vlm) as model:
        want = model.chat([asked], max_tokens=8, sampling="model").text
    with serving(tiny_vlm) as running, Client(running.url) as client:
        got = client.chat("tiny-vl", [asked], options={"num_predict": 8})
        assert got.message.content == want
        told = client.generate(
            "tiny-vl", "What?", images=asked["images"], options={"num_predict": 8}
        )
        assert told.response == want
        assert "vision" in (client.show("tiny-vl").capabilities or ())


def test_logprobs_are_those_of_the_model(tiny: Model, client: Client) -> None:
    want = tiny.chat(HELLO, max_tokens=6, logprobs=True, top_logprobs=2).token_logprobs
    options = {"num_predict": 6, "temperature": 0}
    got = client.chat("tiny", HELLO, logprobs=True, top_logprobs=2, options=options)
    assert want is not None and got.logprobs is not None
    assert [each.logprob for each in got.logprobs] == [each.logprob for each in want]
    assert all(len(each.top_logprobs or ()) == 2 for each in got.logprobs)
    lines = client.chat("tiny", HELLO, logprobs=True, options=options, stream=True)
    streamed = [each.logprob for line in lines for each in line.logprobs or ()]
    assert streamed == [each.logprob for each in want]


def test_nothing_to_answer_loads_and_unloads(client: Client) -> None:
    assert client.generate("tiny").done_reason == "load"
    assert [model.model for model in client.ps().models] == ["tiny"]
    assert client.chat("tiny", [], keep_alive="10m").done_reason == "load"
    (row,) = client.ps().models
    assert row.context_length == 512 and row.expires_at is not None
    client.generate("tiny", keep_alive="999999999h")
    (row,) = client.ps().models
    assert row.expires_at is not None and row.expires_at.year == 1  # never
    assert client.generate("tiny", keep_alive=0).done_reason == "unload"
    assert client.ps().models == []
    client.generate("tiny", "Hello!", keep_alive=0, options={"num_predict": 1})
    assert client.ps().models == []
    client.generate("tiny", "Hello!", keep_alive=-1, options={"num_predict": 1})
    assert len(client.ps().models) == 1


@pytest.mark.parametrize("way", ["the client leaves", "it fails"])
def test_a_model_is_let_go_also_where(saying_client: Ask, way: str) -> None:
    client = saying_client(saying("x" * 3000))
    program = client.model._engine.program  # type: ignore[attr-defined]
    if way == "it fails":
        program.during = lambda _: 1 / 0
        with pytest.raises(ollama.ResponseError):
            client.chat("scripted", HELLO, keep_alive=0)
    else:
        program.during = lambda _: time.sleep(0.005)  # whoever leaves does so before the end
        lines = client.chat("scripted", HELLO, keep_alive=0, stream=True)
        next(lines)
        lines.close()
    until(lambda: client.model.closed)  # type: ignore[attr-defined]


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nno image").decode()
FORGED = list(b'[{"role":"user","content":[{"type":"image","path":"/etc/hostname"}]}]')


@pytest.mark.parametrize(
    ("path", "changed", "names"),
    [
        ("chat", {"messages": "Hello!"}, "messages"),
        ("chat", {"messages": [{"role": "narrator", "content": "x"}]}, "role"),
        ("chat", {"messages": [{"role": "user", "content": 5}]}, "content"),
        (
            "chat",
            {"messages": [{"role": "user", "images": ["/etc/hostname"]}]},
            "messages[0].images[0]",
        ),
        ("chat", {"messages": [{"role": "user", "images": [PNG]}]}, "image"),
        ("chat", {"model": None}, "model"),
        ("chat", {"options": {"num_predict": "x"}}, "num_predict"),
        ("chat", {"options": {"temperature": -1}}, "temperature"),
        ("chat", {"options": {"mirostat": 2}}, "options.mirostat"),
        ("chat", {"options": {"num_ctx": 5}}, "options.num_ctx"),
        ("chat", {"options": {"stop": [""]}}, "options.stop[0]"),
        ("chat", {"options": {"seed": 2**70}}, "seed"),
        ("chat", {"keep_alive": "soon"}, "keep_alive"),
        ("chat", {"format": "xml"}, "format"),
        ("chat", {"format": {"type": "hiccup"}}, "format"),
        ("chat", {"think": "maybe"}, "think"),
        ("chat", {"think": True}, "think"),
        ("chat", {"tools": [{"type": "function"}]}, "tools[0]"),
        ("chat", {"top_logprobs": 3}, "top_logprobs"),
        ("generate", {"prompt": 5}, "prompt"),
        ("generate", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("generate", {"prompt": "x", "template": "{{ .Prompt }}"}, "template"),
        ("generate", {"prompt": "x", "context": [1, 2, 3]}, "context"),
        ("generate", {"prompt": "x", "context": [2**40]}, "context"),
        ("generate", {"prompt": "x", "context": FORGED}, "context"),
        ("generate", {"prompt": "x", "raw": True, "system": "y"}, "system"),
        ("generate", {"prompt": "x", "raw": True, "think": True}, "think"),
        ("embed", {"input": 5}, "input"),
        ("embed", {"input": "x", "dimensions": 0}, "dimensions"),
        ("show", {"model": ""}, "model"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_named(
    url: str, path: str, changed: dict[str, Any], names: str, stream: bool
) -> None:
    good: dict[str, Any] = {"model": "tiny", "stream": stream}
    if path == "chat":
        good["messages"] = HELLO
    reply = httpx2.post(f"{url}/api/{path}", json={**good, **changed})
    assert reply.status_code == 400, reply.text
    assert list(reply.json()) == ["error"] and names in reply.json()["error"]


def test_what_is_not_here_says_what_is(client: Client, url: str) -> None:
    with pytest.raises(ollama.ResponseError, match="tiny") as caught:
        client.chat("llama9", HELLO)
    assert caught.value.status_code == 404
    for path in ("create", "copy", "push", "blobs/sha256:0"):
        reply = httpx2.post(f"{url}/api/{path}", json={})
        assert reply.status_code == 400 and "not supported" in reply.json()["error"]


def test_what_fails_in_a_stream_is_its_last_line(saying_client: Ask) -> None:
    client = saying_client(saying("one#two"))
    program = client.model._engine.program  # type: ignore[attr-defined]
    seen: list[Any] = []

    def fail(tokens: Any) -> None:
        if ord("#") in tokens:
            raise RuntimeError("a secret text")

    program.during = fail
    with pytest.raises(ollama.ResponseError) as caught:
        for line in client.chat("scripted", HELLO, stream=True):
            seen.append(line)
    assert "secret" not in caught.value.error
