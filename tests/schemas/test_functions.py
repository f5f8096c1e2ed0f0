"""Python functions as tools."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest

from cactus.chat.tools import validate_tools
from cactus.errors import InvalidRequest
from cactus.schemas.functions import Tool, tool_of


@dataclass
class Place:
    city: str
    country: str | None = None


def get_weather(
    place: Place, days: Annotated[int, "How many days"] = 1, unit: Literal["c", "f"] = "c"
) -> str:
    """Get the weather.

    Args:
        place: Where.
        unit: Of temperature.
    """
    return f"{place.city} {days} {unit}"


def test_signature_hints_and_docstring_become_the_definition() -> None:
    definition = Tool(get_weather).definition
    assert definition == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string"},
                            "country": {"type": ["string", "null"]},
                        },
                        "required": ["city"],
                        "additionalProperties": False,
                        "description": "Where.",
                    },
                    "days": {"type": "integer", "description": "How many days", "default": 1},
                    "unit": {
                        "type": "string",
                        "enum": ["c", "f"],
                        "description": "Of temperature.",
                        "default": "c",
                    },
                },
                "required": ["place"],
            },
        },
    }
    assert validate_tools([definition]) == [definition]


def test_arguments_become_objects_of_the_declared_types() -> None:
    tool = Tool(get_weather)
    bound = tool.bind({"place": {"city": "Paris"}, "days": 2})
    assert tool(*bound.args, **bound.kwargs) == "Paris 2 c"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "get_weather: place missing"),
        ({"place": {"city": 3}}, "get_weather.place.city: expected a string, got 3"),
        ({"place": {"city": "x"}, "units": 1}, "get_weather: there is no 'units'; did you mean"),
        ({"place": {"city": "x"}, "unit": "k"}, "get_weather.unit: expected one of 'c', 'f'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Tool(get_weather).bind(arguments)
    assert str(caught.value).startswith(message)


def test_name_and_description_can_be_given() -> None:
    tool = Tool(get_weather, name="weather", description="Now.")
    assert tool.definition["function"]["name"] == "weather"
    assert tool.definition["function"]["description"] == "Now."
    assert tool_of(tool) is tool
    assert tool_of({"name": "x"}) is None


def add(a: int, /, b: int = 2, *, c: int = 3) -> int:
    return 100 * a + 10 * b + c


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.n = 0

    def count(self, by: int) -> int:
        """Count on."""
        self.n += by
        return self.n

    def __call__(self, by: int) -> int:
        return self.count(by)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (add, {"a": 1, "c": 4}, 124),
        (add, {"a": 1, "b": 5}, 153),
        (functools.partial(add, 7), {"c": 1}, 721),
        (functools.partial(add, c=9), {"a": 1}, 129),
        (Counter().count, {"by": 2}, 2),
        (Counter(), {"by": 3}, 3),
    ],
)
def test_all_that_can_be_called_is_a_tool(
    function: Any, arguments: dict[str, Any], expected: int
) -> None:
    tool = Tool(function)
    bound = tool.bind(arguments)
    assert tool(*bound.args, **bound.kwargs) == expected


def test_what_was_set_beforehand_is_not_the_models_to_choose() -> None:
    tool = Tool(functools.partial(add, c=9))
    assert list(tool.parameters["properties"]) == ["a", "b"]
    with pytest.raises(InvalidRequest, match="there is no 'c'"):
        tool.bind({"a": 1, "c": 2})


def test_a_method_and_a_partial_keep_their_name() -> None:
    assert Tool(Counter().count).name == "count"
    assert Tool(functools.partial(add, 1)).name == "add"
    assert Tool(Counter()).name == "Counter"


def test_parameters_that_cannot_be_told_are_refused() -> None:
    def many(*values: int) -> None: ...

    def named(**values: int) -> None: ...

    def data(content: bytes) -> None: ...

    for function, message in (
        (many, r"many: a model cannot be told of \*values"),
        (named, r"named: a model cannot be told of \*\*values"),
        (data, r"data\.content: JSON has nothing for the type bytes"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            Tool(function)


def odd(value: Any) -> Any:
    """A function whose hint is `value`."""

    def given(x: Any) -> None: ...

    given.__annotations__["x"] = value
    return given


class Nothing(Enum):
    """No members."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (odd("int or"), "given: a type hint is not a type"),
        (odd("Place.nowhere"), "given: a type hint is not a type: .*nowhere"),
        (odd([int]), r"given\.x: JSON has nothing for the type .*; use a type"),
        (odd(Literal[b"a"]), r"given\.x: JSON has nothing for the type .*; use strings"),
        (odd(Nothing), r"given\.x: JSON has nothing for the type Nothing; it has no members"),
        (max, "max: its parameters are not known"),
        (dict, "dict: its parameters are not known"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_so(function: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Tool(function)


def test_a_cached_function_keeps_its_types() -> None:
    @functools.lru_cache
    def add(a: int, b: int = 1) -> int:
        return a + b

    assert Tool(add).parameters["properties"]["a"] == {"type": "integer"}


def test_a_hint_that_names_nothing_is_an_error_that_says_so() -> None:
    def lost(x: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidRequest, match="lost: a type hint names 'Missing'"):
        Tool(lost)


def test_a_parameter_without_a_hint_may_be_anything() -> None:
    def free(x, y=1): ...  # type: ignore[no-untyped-def]

    assert Tool(free).parameters == {
        "type": "object",
        "properties": {"x": {}, "y": {"default": 1}},
        "required": ["x"],
    }


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(InvalidRequest, match=r"a lambda has no name: give Tool\(function, name="):
        Tool(lambda: 1)
    assert Tool(lambda: 1, name="one").definition["function"]["name"] == "one"
