"""JSON schemas of parameters: what is wrong in one is named with its place."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest

from cactus.chat.schema import check_schema
from cactus.errors import InvalidRequest


def deep(schema: Any) -> Any:
    """The schema inside others of every kind, beside which all is well."""
    inner = {"type": "array", "items": {"anyOf": [{"type": "null"}, schema]}}
    return {"type": "object", "properties": {"x": {"type": "object", "properties": {"y": inner}}}}


@pytest.mark.fault("F35")
@pytest.mark.parametrize(
    ("schema", "place", "wanted"),
    [
        (5, "", "a JSON schema, got 5"),
        (None, "", "a JSON schema, got null"),
        ({"type": "hiccup"}, ".type", "one of object, array, .*, got 'hiccup'"),
        ({"type": "str"}, ".type", ".*got 'str'; JSON schema calls it 'string'"),
        ({"type": 5}, ".type", "one of .*, got 5"),
        ({"type": []}, ".type", "one of .*, got \\[\\]"),
        ({"type": ["string", "int"]}, ".type[1]", ".*got 'int'; JSON schema calls it 'integer'"),
        ({"properties": []}, ".properties", "an object"),
        ({"properties": {"a b": 3}}, ".properties.a b", "a JSON schema, got 3"),
        ({"required": "a"}, ".required", "a list of names, got 'a'"),
        ({"required": True}, ".required", "a list of names, got True"),
        ({"required": ["a", 2]}, ".required[1]", "a string, got 2"),
        ({"enum": []}, ".enum", "a list of values"),
        ({"enum": "a"}, ".enum", "a list of values, got 'a'"),
        ({"anyOf": {}}, ".anyOf", "a list of JSON schemas"),
        ({"oneOf": [True, "x"]}, ".oneOf[1]", "a JSON schema, got 'x'"),
        ({"items": "string"}, ".items", "a JSON schema, got 'string'"),
        ({"items": [{}, 5]}, ".items[1]", "a JSON schema, got 5"),
        ({"additionalProperties": "no"}, ".additionalProperties", "a JSON schema"),
        ({"not": {"type": "x"}}, ".not.type", "one of"),
        ({"$defs": {"a": {"type": "x"}}}, ".$defs.a.type", "one of"),
        ({"patternProperties": {"(": {}}}, ".patternProperties.(", "a regular expression"),
        ({"pattern": "["}, ".pattern", "a regular expression, got '\\[': .*"),
        ({"pattern": 5}, ".pattern", "a string, got 5"),
        ({"pattern": "a" * 10_001}, ".pattern", "has 10001 characters; at most 10000"),
        ({"minimum": "0"}, ".minimum", "a number, got '0'"),
        ({"maxItems": -1}, ".maxItems", "an integer from 0, got -1"),
        ({"minLength": 1.5}, ".minLength", "an integer from 0, got 1.5"),
        ({"description": 5}, ".description", "a string, got 5"),
        ({"$ref": {}}, ".$ref", "a string"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(schema: Any, place: str, wanted: str) -> None:
    for whole, before in (
        (schema, "tools[3].parameters"),
        (deep(schema), "tools[3].parameters.properties.x.properties.y.items.anyOf[1]"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            check_schema(whole, "tools[3].parameters")
        message = str(caught.value)
        assert message.startswith(f"{before}{place}: ")
        assert re.search(wanted, message)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": ["string", "null"], "enum": ["a", None], "default": "a"},
        {"type": "object", "additionalProperties": False, "x-own": 5, "properties": {}},
        {"exclusiveMinimum": True, "minimum": 0, "multipleOf": 0.5, "maxLength": 5.0},
        {"$ref": "#/$defs/node", "$defs": {"node": {"$ref": "#"}}},
        {"items": [{"type": "string"}], "required": [], "examples": ["x"]},
        {"properties": {"type": {"type": "string"}, "required": {"type": "boolean"}}},
        {"if": {}, "then": True, "else": {"contains": {}}, "propertyNames": {"pattern": "^a"}},
    ],
)
def test_what_is_right_is_accepted(schema: Any) -> None:
    check_schema(schema, "x")
    check_schema(deep(schema), "x")


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^\d{3}-[A-Z]+$", r"\p{L}+", r"[\p{Lu}\d]", r"(?<year>\d+)", r"(?<=a|bc)d", r"\/a\-b"),
        *(r"\cJ", r"\u{1F389}", r"[[a]", r"[a--b]", r"\\p{2}", r"(a{1,1000}){1,1000}", "ü+"),
    ],
)
def test_patterns_are_those_of_javascript(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_schema({"pattern": pattern}, "x")


@pytest.mark.fault("F35", "F38")
def test_a_schema_that_is_deep_or_wide_is_no_danger() -> None:
    schema: Any = {}
    for _ in range(5000):
        schema = {"not": schema}
    check_schema(schema, "x")
    check_schema({"enum": list(range(100_000))}, "x")
