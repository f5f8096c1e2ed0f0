"""Answers that have a form, from real programs: a random one, and the starter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cactus import Model, cactus_complete, cactus_destroy, cactus_init
from tests.generate.scripted import same

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "item": {"enum": ["tea", "coffee", "Würfel"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "notes": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 2},
    },
    "required": ["item", "count", "notes"],
    "additionalProperties": False,
}
SIZE = {"type": "object", "properties": {"count": ORDER["properties"]["count"]}}
TOOL = {"name": "order", "parameters": {**SIZE, "required": ["count"]}}


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


@pytest.mark.parametrize(
    "options",
    [
        {"schema": ORDER},
        {"schema": ORDER, "temperature": 1.0, "seed": 3},
        {"schema": ORDER, "temperature": 0.8, "repetition_penalty": 1.3, "seed": 4},
    ],
)
def test_every_bit_is_the_same_alone_and_together(tiny: Model, options: dict[str, Any]) -> None:
    asks = [f"order {n}" for n in range(4)]
    alone = [tiny.chat(ask, max_tokens=90, **options) for ask in asks]
    together = tiny.chat_many(asks, max_tokens=90, **options)
    assert all(map(same, alone, together))
    assert all(1 <= answer.parsed["count"] <= 99 for answer in alone)


def test_guesses_change_no_bit(tiny: Model) -> None:
    for ask in ('{"item": "tea", "count": 5, "notes": []}', "hello"):
        plain = tiny.chat(ask, schema=ORDER, speculation=False)
        assert same(plain, tiny.chat(ask, schema=ORDER))


def test_raw_text_can_have_a_form_too(tiny: Model) -> None:
    answer = tiny.complete("one, two, ", response_format={"type": "regex", "regex": "[0-9]{3}"})
    assert len(answer.text) == 3 and answer.text.isdecimal()
    assert answer.parsed is None and answer.structure is not None and answer.structure.valid


def test_a_stream_of_json_is_the_same_text(tiny: Model) -> None:
    with tiny.stream("order", schema=ORDER) as stream:
        text = "".join(event.text for event in stream)
    assert json.loads(text) == stream.completion.parsed
    assert same(stream.completion, tiny.chat("order", schema=ORDER))


def test_the_flat_function_forces_calls(starter_folder: Path) -> None:
    handle = cactus_init(str(starter_folder))
    asked = [{"role": "user", "content": "I want nine cups."}]
    answer = cactus_complete(
        handle, asked, tools=[TOOL], force_tools=True, max_tokens=60, confidence_threshold=0
    )
    cactus_destroy(handle)
    found = json.loads(answer)
    assert found["error"] is None and found["response"] == ""
    assert found["function_calls"][0]["name"] == "order"
    assert 1 <= found["function_calls"][0]["arguments"]["count"] <= 99
    assert len(found) == 14


def test_the_starter_fills_a_form(starter_folder: Path) -> None:
    with Model(starter_folder) as model:
        person = {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
        answer = model.chat("Ada is 36 years old. Write her name and age as JSON.", schema=person)
        assert answer.parsed == {"name": "Ada", "age": 36}
        assert answer.finish_reason == "stop"
