"""When an answer of BFCL counts as right."""

from __future__ import annotations

from typing import Any

import pytest

AREA = {
    "name": "area",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "float"},
            "unit": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "place": {"type": "dict"},
        },
        "required": ["base"],
    },
}
POSSIBLE = {
    "base": [10.0],
    "unit": ["cm", "square cm", ""],
    "tags": [["New York", "b"], ""],
    "place": [{"city": ["Paris"], "zip": [75, ""]}, ""],
}


@pytest.fixture
def bfcl(load: Any) -> Any:
    return load("bfcl")


def is_right(bfcl: Any, expected: list[dict[str, list[Any]]], *calls: Any) -> bool:
    case = bfcl.Case("x", [], [AREA], [{"area": possible} for possible in expected])
    return bool(bfcl.is_right(case, list(calls)))


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "area", "arguments": arguments}


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"base": 10.0}, True),
        ({"base": 10}, True),
        ({"base": "10"}, False),
        ({"base": 11.0}, False),
        ({}, False),
        ({"base": 10, "unit": "Square-CM"}, True),
        ({"base": 10, "unit": "m"}, False),
        ({"base": 10, "height": 1}, False),
        ({"base": 10, "tags": ["new york", "B"]}, True),
        ({"base": 10, "tags": ["b", "new york"]}, False),
        ({"base": 10, "tags": "b"}, False),
        ({"base": 10, "place": {"city": "paris"}}, True),
        ({"base": 10, "place": {"city": "paris", "zip": 75}}, True),
        ({"base": 10, "place": {"zip": 75}}, False),
    ],
)
def test_each_argument_is_one_of_the_possible_ones(bfcl: Any, arguments: Any, right: bool) -> None:
    assert is_right(bfcl, [POSSIBLE], call(**arguments)) is right


def test_calls_are_right_in_any_order_and_each_counts_once(bfcl: Any) -> None:
    two: list[Any] = [{"base": [1.0]}, {"base": [2.0]}]
    assert is_right(bfcl, two, call(base=2), call(base=1))
    assert not is_right(bfcl, two, call(base=1), call(base=1))
    assert not is_right(bfcl, two, call(base=1))
    assert not is_right(bfcl, two[:1], call(base=1), call(base=2))
    assert not is_right(bfcl, two[:1], {**call(base=1), "name": "other"})


def test_descriptions_become_json_schemas(bfcl: Any) -> None:
    assert bfcl.json_schema({"type": "dict", "items": [{"type": "tuple"}, {"type": "any"}]}) == {
        "type": "object",
        "items": [{"type": "array"}, {}],
    }
