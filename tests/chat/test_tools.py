"""Tool definitions in both forms, and errors that name the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cactus.chat.messages import validate_tools
from cactus.errors import InvalidRequest

PARAMETERS = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
}
FLAT = {"name": "get_weather", "description": "Get weather", "parameters": PARAMETERS}
OPENAI = {"type": "function", "function": FLAT}


def test_both_forms_become_openai_form() -> None:
    assert validate_tools([FLAT]) == validate_tools([OPENAI]) == [OPENAI]
    assert validate_tools(json.dumps([FLAT])) == [OPENAI]
    assert validate_tools([{"type": "function", **FLAT}]) == [OPENAI]


def test_no_tools() -> None:
    assert validate_tools(None) == validate_tools([]) == []


def test_missing_parameters_are_an_object_without_properties() -> None:
    assert validate_tools([{"name": "now"}]) == [
        {
            "type": "function",
            "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
        }
    ]


def test_other_fields_are_kept() -> None:
    assert validate_tools([{**FLAT, "strict": True}])[0]["function"]["strict"] is True


def test_the_result_is_a_copy() -> None:
    validate_tools([FLAT])[0]["function"]["parameters"]["properties"].clear()
    assert PARAMETERS["properties"]


@pytest.mark.fault("F35")
@pytest.mark.parametrize(
    ("tool", "error"),
    [
        (5, r"tools\[1\]: expected an object with a name, got 5"),
        ({}, r"tools\[1\]\.name: expected 1 to 128 letters.* got null"),
        ({"name": ""}, r"tools\[1\]\.name: .* got ''"),
        ({"name": "a b"}, r"tools\[1\]\.name: .* got 'a b'"),
        ({"name": "<|im_end|>"}, r"tools\[1\]\.name"),
        ({"name": "f\n"}, r"tools\[1\]\.name"),
        ({"name": "x" * 129}, r"tools\[1\]\.name"),
        ({"name": "x" * 5000}, r"tools\[1\]\.name: .* got 'x{80}…"),
        ({"type": "web_search"}, r"tools\[1\]\.type: expected 'function', got 'web_search'"),
        ({"type": "function", "function": 3}, r"tools\[1\]\.function: expected an object"),
        ({"function": {"name": 3}}, r"tools\[1\]\.function\.name: .* got 3"),
        ({"name": "f", "description": 3}, r"tools\[1\]\.description: expected a string, got 3"),
        ({"name": "f", "parameters": []}, r"tools\[1\]\.parameters: expected a JSON schema"),
        (
            {"name": "f", "parameters": {"type": "string"}},
            r"tools\[1\]\.parameters\.type: expected 'object', got 'string'",
        ),
        ({"name": "f", "parameters": 5}, r"tools\[1\]\.parameters: expected a JSON schema"),
        (
            {"name": "f", "parameters": {"type": "dict"}},
            r"tools\[1\]\.parameters\.type: expected one of object, .* got 'dict'; JSON schema "
            r"calls it 'object'",
        ),
        (
            {"type": "function", "function": {"name": "f", "parameters": {"type": "dict"}}},
            r"tools\[1\]\.function\.parameters\.type: ",
        ),
        (
            {"name": "f", "parameters": {"properties": [1]}},
            r"tools\[1\]\.parameters\.properties: expected an object, got a list of 1",
        ),
        (
            {"name": "f", "parameters": {"properties": {"a": "string"}}},
            r"tools\[1\]\.parameters\.properties\.a: expected a JSON schema, got 'string'",
        ),
        (
            {"name": "f", "parameters": {"required": "a"}},
            r"tools\[1\]\.parameters\.required: expected a list of names, got 'a'",
        ),
        (
            {"name": "f", "parameters": {"required": ["a", 2]}},
            r"tools\[1\]\.parameters\.required\[1\]: expected a string, got 2",
        ),
        (FLAT, r"tools\[1\]\.name: 'get_weather' is the name of tools\[0\] too"),
        ({"name": "f", "x": float("inf")}, r"tools\[1\]\.x: expected a finite number"),
    ],
)
def test_what_is_wrong_is_named(tool: Any, error: str) -> None:
    with pytest.raises(InvalidRequest, match=error):
        validate_tools([FLAT, tool])


@pytest.mark.fault("F35")
@pytest.mark.parametrize("tools", [{"name": "f"}, 5, "x", "{}", "[NaN]", "[" * 9999])
def test_what_is_no_list_is_refused(tools: Any) -> None:
    with pytest.raises(InvalidRequest, match="tools: "):
        validate_tools(tools)


@pytest.mark.fault("F35")
def test_a_thousand_tools_are_not_too_many() -> None:
    assert len(validate_tools([{"name": f"f{index}"} for index in range(1000)])) == 1000


@pytest.mark.fault("F35")
def test_parameters_that_are_null_are_missing() -> None:
    assert validate_tools([{"name": "now", "parameters": None}]) == validate_tools(
        [{"name": "now"}]
    )


@pytest.mark.fault("F35")
def test_too_many_tools() -> None:
    with pytest.raises(InvalidRequest, match="at most 10000 tools, got 10001"):
        validate_tools([{"name": f"f{index}"} for index in range(10_001)])
