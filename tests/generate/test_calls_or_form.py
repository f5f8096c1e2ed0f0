"""Answers that call tools, or else are JSON in the form that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cactus.errors import InvalidRequest
from cactus.model import Model
from tests.generate.scripted import babbling, saying, scripted_engine

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
CALL = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'


def model(script: Any) -> Model:
    return Model.from_engine(scripted_engine(script, chunk=40, context=2000))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_is_a_call_and_anything_else_becomes_the_form(streamed: bool) -> None:
    told: Any = {"tools": [CLOCK], "response_format": CITY, "parallel_tool_calls": False}

    def answer(script: Any) -> Any:
        with model(script) as talker:
            if not streamed:
                return talker.chat("question", **told)
            with talker.stream("question", **told) as stream:
                list(stream)
            return stream.completion

    called = answer(saying(CALL))
    assert called.function_calls == ({"name": "get_time", "arguments": {}},)
    assert (called.text, called.finish_reason, called.parsed) == ("", "tool_calls", None)
    assert called.structure.valid
    said = answer(saying('{"city": "Ulm"}'))
    assert (said.parsed, said.function_calls) == ({"city": "Ulm"}, ())
    assert said.structure.valid and said.structure.unenforced == ()
    noise = answer(babbling)
    assert noise.function_calls or list(json.loads(noise.text)) == ["city"]


def test_what_of_the_form_cannot_be_enforced_is_told_or_refused() -> None:
    loose = {"type": "array", "items": {"enum": [1]}, "uniqueItems": True, "maxItems": 3}
    with model(saying("[1, 1]")) as talker:
        answer = talker.chat("question", tools=[CLOCK], response_format=loose)
        assert answer.structure is not None and answer.structure.valid is False
        assert "uniqueItems" in answer.structure.unenforced[0]
        strict = {"type": "json_schema", "json_schema": {"schema": loose, "strict": True}}
        with pytest.raises(InvalidRequest, match=r"^response_format\.json_schema\.uniqueItems"):
            talker.chat("question", tools=[CLOCK], response_format=strict)
        with pytest.raises(InvalidRequest, match="beside tools an answer may be JSON"):
            talker.chat("question", tools=[CLOCK], response_format=["yes", "no"])
