from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from cactus.errors import InvalidRequest
from cactus.grammar.formats import MAX_TEXT, response_format, schema_option
from cactus.grammar.result import read

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("given", "kind", "definition", "strict"),
    [
        ({"type": "json_object"}, "json", {"type": "object"}, False),
        (SCHEMA, "json", SCHEMA, False),
        ({}, "json", {}, False),
        ({"enum": [1]}, "json", {"enum": [1]}, False),
        ({"type": ["object", "null"]}, "json", {"type": ["object", "null"]}, False),
        ({"type": "regex", "regex": "a+"}, "regex", "a+", False),
        ({"type": "lark", "lark": 'start: "a"'}, "lark", 'start: "a"', False),
        ({"type": "choice", "choices": ["a", "b", "a"]}, "choice", ("a", "b"), False),
        (["a", "b"], "choice", ("a", "b"), False),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "json", SCHEMA, False),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
            "json",
            SCHEMA,
            True,
        ),
    ],
)
def test_every_form_is_read(given: Any, kind: str, definition: Any, strict: bool) -> None:
    found = response_format("response_format", given)
    assert found is not None
    assert (found.kind, found.definition, found.strict) == (kind, definition, strict)


def test_plain_text_is_no_form() -> None:
    assert response_format("response_format", {"type": "text"}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "response_format: expected a form of the answer .* got 5"),
        ("json", "response_format: expected a form of the answer"),
        ([], "response_format: expected a list of texts"),
        (["a", 5], r"response_format\[1\] must be a string, got 5"),
        (["a", ""], r"response_format\[1\]: a text to choose must not be empty"),
        ({"type": "choice"}, "'choice' has the keys 'type' and 'choices'"),
        ({"type": "regex", "pattern": "a"}, "'regex' has the keys 'type' and 'regex'"),
        ({"type": "regex", "regex": ""}, "response_format.regex: expected 1 to"),
        ({"type": "lark", "lark": 5}, "response_format.lark must be a string, got 5"),
        ({"type": "json_schema"}, "response_format.json_schema: expected an object"),
        (
            {"type": "json_schema", "json_schema": {}},
            "response_format.json_schema.schema: expected a JSON schema, got null",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": {}, "strict": 1}},
            "response_format.json_schema.strict must be True or False, got 1",
        ),
        ({"properties": {"a": {"default": {1}}}}, "response_format.properties.a.default: expected"),
        ({"maximum": float("nan")}, "response_format.maximum: expected a finite number"),
        (["a" * MAX_TEXT, "b"], "characters of text; at most"),
    ],
)
def test_what_is_no_form_is_refused_with_its_path(given: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        response_format("response_format", given)


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("the number is odd")


def test_a_schema_may_be_a_python_type_whose_object_is_built() -> None:
    form = schema_option("schema", Even)
    assert form.definition["properties"] == {"number": {"type": "integer"}}
    assert read('{"number": 2}', form, ())[0] == Even(2)
    parsed, structure = read('{"number": 3}', form, ())
    assert parsed is None and structure.errors == ("answer: the number is odd",)
    for hint in (list[Even], Even | None, dict[str, int]):
        assert schema_option("schema", hint).definition
    with pytest.raises(InvalidRequest, match="schema: JSON has nothing for the type bytes"):
        schema_option("schema", bytes)


def test_a_schema_may_be_a_text_of_json() -> None:
    assert schema_option("schema", '{"type": "array"}').definition == {"type": "array"}
    with pytest.raises(InvalidRequest, match="schema: expected valid JSON"):
        schema_option("schema", "{")
    with pytest.raises(InvalidRequest, match="schema: expected a JSON schema, got a list of 1"):
        schema_option("schema", [{}])


@pytest.mark.parametrize(
    ("given", "hint"),
    [(int, "a Python type is given as schema="), ("json", 'give {"type": "json_object"}')],
)
def test_forms_that_others_take_get_a_hint(given: Any, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(hint)):
        response_format("response_format", given)
