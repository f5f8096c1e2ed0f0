"""OpenAI's own client against ``/v1/responses``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel

from cactus.model import Model
from cactus.server.models import ServedModel
from cactus.server.openai.responses.stream import Writer
from cactus.server.pieces import Piece
from cactus.types import TokenLogprob
from tests.generate.scripted import WEATHER, saying, scripted_engine
from tests.server.openai.conftest import add
from tests.server.openai.spec import event_schema, events_in
from tests.server.running import serving

TOOL: Any = {"type": "function", "strict": False, **WEATHER}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"location": "Köln"}}</tool_call>'


def test_a_response_is_the_models_answer(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    want = tiny_server[1].chat(messages, max_tokens=20)
    told: Any = {"model": "tiny", "instructions": "Be brief.", "max_output_tokens": 20}
    got = tiny.responses.create(input="Hi", temperature=0, **told)
    assert got.output_text == want.text
    assert got.usage is not None and got.usage.output_tokens == want.metrics.decode_tokens
    assert got.usage.input_tokens == tiny_server[1].count_tokens(messages)
    assert got.status == ("incomplete" if want.finish_reason == "length" else "completed")
    with tiny.responses.stream(input="Hi", temperature=0, **told) as stream:
        events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == want.text
    last: Any = events[-1]
    assert last.type == f"response.{got.status}"
    assert last.response.output_text == want.text
    assert last.response.usage.output_tokens == got.usage.output_tokens
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_thoughts_text_and_calls_are_items_with_a_life_of_their_own(
    serve: Any, strict: Any
) -> None:
    url = serve(saying(f"<think>Hm.</think>I look.{CALL}"), tags=True, context=4000)
    body = {"input": "Weather?", "tools": [TOOL, {"type": "web_search"}], "stream": True}
    got = httpx2.post(f"{url}/v1/responses", json=body)
    events = list(events_in(got.content))
    assert [name for name, _ in events] == [value["type"] for _, value in events]
    assert all(event_schema(value["type"]) for _, value in events)
    kinds = [value["type"].removeprefix("response.") for _, value in events]
    once = [kind for n, kind in enumerate(kinds) if n == 0 or kind != kinds[n - 1]]
    part = ["output_item.added", "content_part.added"]
    ends = ["content_part.done", "output_item.done"]
    assert once == [
        "created",
        "in_progress",
        *part,
        "reasoning_text.delta",
        "reasoning_text.done",
        *ends,
        *part,
        "output_text.delta",
        "output_text.done",
        *ends,
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    last = events[-1][1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning", "message", "function_call"]
    assert all(item["status"] == "completed" for item in last["output"])
    assert last["tools"] == [TOOL]
    done = [value["item"] for _, value in events if value["type"] == "response.output_item.done"]
    assert done == last["output"]
    client = strict(url)
    whole = client.responses.create(model="scripted", input="Weather?", tools=[TOOL])
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"]
    assert json.loads(whole.output[2].arguments) == json.loads(last["output"][2]["arguments"])
    assert whole.output[2].call_id == last["output"][2]["call_id"]
    tokens = whole.usage.output_tokens_details.reasoning_tokens
    assert tokens == len("<think>Hm.</think>")


def prompts(serve: Any, said: str = "ok") -> tuple[str, list[str]]:
    """A server whose prompts are seen."""
    seen: list[str] = []

    def script(history: list[int], answered: int) -> Any:
        if answered == 0:
            seen.append(bytes(history).decode())
        return saying(said)(history, answered)

    return serve(script, context=8000), seen


def test_a_conversation_goes_on_from_what_is_kept(serve: Any, strict: Any) -> None:
    url, seen = prompts(serve)
    client = strict(url)
    first = client.responses.create(model="scripted", input="One", instructions="Be brief.")
    second = client.responses.create(model="scripted", input="Two", previous_response_id=first.id)
    assert seen[1] == "u:One\na:ok\nu:Two\na:"
    item = first.output[0].id
    client.responses.create(
        model="scripted",
        input=[{"type": "item_reference", "id": item}, {"role": "user", "content": "x"}],
    )
    assert seen[2] == "a:ok\nu:x\na:"
    assert client.responses.retrieve(second.id).output_text == "ok"
    listed = client.responses.input_items.list(second.id, order="asc").data
    assert [each.type for each in listed] == ["message"] * 3
    newest = client.responses.input_items.list(second.id, limit=1)
    assert newest.data[0].id == listed[-1].id and newest.has_more
    rest = client.responses.input_items.list(second.id, after=listed[-1].id).data
    assert [each.id for each in rest] == [listed[1].id, listed[0].id]
    client.responses.delete(first.id)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(BadRequestError) as gone:
        client.responses.create(model="scripted", input="a", previous_response_id=first.id)
    assert gone.value.code == "previous_response_not_found"
    client.responses.create(model="scripted", input="Three", previous_response_id=second.id)
    assert seen[-1] == "u:One\na:ok\nu:Two\na:ok\nu:Three\na:"


def test_what_is_not_to_be_stored_is_not(serve: Any, strict: Any) -> None:
    client = strict(serve(saying("ok")))
    got = client.responses.create(model="scripted", input="One", store=False)
    assert got.store is False
    with pytest.raises(NotFoundError):
        client.responses.retrieve(got.id)


def test_a_tool_loop_is_one_conversation(serve: Any, strict: Any) -> None:
    url, seen = prompts(serve)
    client = strict(url)
    client.responses.create(
        model="scripted",
        tools=[TOOL],
        input=[
            {"type": "message", "role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
            {"type": "function_call", "call_id": "a", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "get_weather", "arguments": "{"},
            {"type": "function_call_output", "call_id": "a", "output": "sun"},
            {
                "type": "function_call_output",
                "call_id": "b",
                "output": [{"type": "input_text", "text": "rain"}],
            },
        ],
    )
    assert "sun" in seen[0] and "rain" in seen[0]
    assert seen[0].count("\na:") == 2  # both calls are one message


class City(BaseModel):
    name: str


def test_an_answer_is_parsed_by_the_client(
    starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    got = starter.responses.parse(
        model=starter_server[1].name,
        input="Name a city.",
        text_format=City,
        max_output_tokens=100,
        temperature=0,
    )
    assert isinstance(got.output_parsed, City)


def test_a_conversation_that_is_too_long_loses_its_beginning_only_where_it_may(
    serve: Any, strict: Any
) -> None:
    seen: list[str] = []

    def script(history: list[int], answered: int) -> Any:
        if answered == 0:
            seen.append(bytes(history).decode())
        return saying("ok")(history, answered)

    client = strict(serve(script, context=200))
    turns: Any = [{"role": "user", "content": f"{n:02}" + "x" * 40} for n in range(6)]
    told: Any = {"model": "scripted", "input": turns, "instructions": "Be brief."}
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(**told)
    assert refused.value.code == "context_length_exceeded"
    client.responses.create(truncation="auto", **told)
    assert seen[-1].startswith("s:Be brief.\nu:0") and "u:05" in seen[-1] and "u:00" not in seen[-1]


def test_logprobs_come_where_they_are_included(tiny: OpenAI) -> None:
    got = tiny.responses.create(
        model="tiny",
        input="Hi",
        max_output_tokens=16,
        temperature=0,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    content: Any = got.output[0]
    logprobs = content.content[0].logprobs
    assert logprobs and all(len(each.top_logprobs) == 2 for each in logprobs)


def test_a_token_within_which_a_call_begins_belongs_to_the_text_before_it() -> None:
    token = TokenLogprob(1, ".", b".", -0.5)
    writer = Writer()
    for piece in (
        Piece(0, "text", "I look."),
        Piece(0, "call", tokens=(token,), id="a", name="f"),
        Piece(0, "arguments", "{}", id="a"),
    ):
        list(writer.read(piece))
    said: Any = writer.output[0]
    assert [each.token for each in said.content[0].logprobs] == ["."]


def test_tokens_of_a_request_are_counted(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    got = tiny.responses.input_tokens.count(model="tiny", input="Hi")
    want = tiny_server[1].count_tokens([{"role": "user", "content": "Hi"}])
    assert got.input_tokens == want


def test_a_failure_in_the_middle_ends_the_stream_with_failed(serve: Any) -> None:
    def script(history: list[int], answered: int) -> Any:
        if answered == 3:
            raise RuntimeError("the secret of a user")
        return 97

    url = serve(script)
    body = {"input": "Hi", "stream": True}
    events = [
        value for _, value in events_in(httpx2.post(f"{url}/v1/responses", json=body).content)
    ]
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert "secret" not in json.dumps(events)


@pytest.mark.fault("F84")
def test_keys_see_nothing_of_each_others_responses(strict: Any, tmp_path: Path) -> None:
    with serving(keys=("one", "two")) as running:
        model = ServedModel.from_engine(scripted_engine(saying("ok")))
        add(running.service, "scripted", model, tmp_path)
        one = strict(running.url).with_options(api_key="one")
        two = strict(running.url).with_options(api_key="two")
        got = one.responses.create(model="scripted", input="A secret")
        assert one.responses.retrieve(got.id).id == got.id
        with pytest.raises(NotFoundError):
            two.responses.retrieve(got.id)
        with pytest.raises(NotFoundError):
            two.responses.delete(got.id)
        with pytest.raises(BadRequestError):
            two.responses.create(model="scripted", input="a", previous_response_id=got.id)
        with pytest.raises(BadRequestError):
            two.responses.create(
                model="scripted", input=[{"type": "item_reference", "id": got.output[0].id}]
            )


def test_an_error_does_not_repeat_a_long_value(tiny: OpenAI) -> None:
    given: Any = [{"role": "x" * 70_000, "content": "Hello!"}]
    with pytest.raises(BadRequestError, match=r"input\[0\]\.role: Invalid enum value") as refused:
        tiny.responses.create(model="tiny", input=given)
    assert len(str(refused.value)) < 1000
