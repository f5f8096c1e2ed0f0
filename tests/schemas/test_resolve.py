"""Type hints become JSON schemas, and JSON values objects of those types."""

from __future__ import annotations

import datetime
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum, auto
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict

import jsonschema
import pydantic
import pytest

from cactus.errors import InvalidRequest
from cactus.schemas.resolve import build, schema_of

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    from typing_extensions import NotRequired


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Level(IntEnum):
    LOW = auto()
    HIGH = auto()


class Shape(Enum):
    """Values that JSON has nothing for."""

    SQUARE = (4, 4)
    ROUND = (0, 1)


@dataclass
class Place:
    """A place on the map.

    Args:
        name: What it is called.
    """

    name: str
    lat: float = 0.0
    tags: list[str] = field(default_factory=list)
    hidden: int = field(default=0, init=False)


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)


class Person(TypedDict):
    name: str
    age: NotRequired[int]


class Point(NamedTuple):
    x: float
    y: float = 1.0


UserId = NewType("UserId", int)

STRING, INTEGER = {"type": "string"}, {"type": "integer"}

# A hint, its schema, and pairs of a JSON value and the object it stands for.
CASES: list[tuple[Any, dict[str, Any], list[tuple[Any, Any]]]] = [
    (str, STRING, [("x", "x")]),
    (int, INTEGER, [(3, 3), (3.0, 3)]),
    (float, {"type": "number"}, [(3, 3.0), (0.5, 0.5)]),
    (bool, {"type": "boolean"}, [(True, True)]),
    (None, {"type": "null"}, [(None, None)]),
    (Any, {}, [({"a": [1]}, {"a": [1]})]),
    (list, {"type": "array"}, [([1, "a"], [1, "a"])]),
    (list[int], {"type": "array", "items": INTEGER}, [([1], [1])]),
    (Sequence[int], {"type": "array", "items": INTEGER}, [([1], [1])]),
    (set[str], {"type": "array", "items": STRING}, [(["a", "a"], {"a"})]),
    (frozenset[str], {"type": "array", "items": STRING}, [(["a"], frozenset("a"))]),
    (tuple[int, ...], {"type": "array", "items": INTEGER}, [([1, 2], (1, 2))]),
    (
        tuple[int, str],
        {
            "type": "array",
            "prefixItems": [INTEGER, STRING],
            "items": False,
            "minItems": 2,
            "maxItems": 2,
        },
        [([1, "a"], (1, "a"))],
    ),
    (dict, {"type": "object"}, [({"a": 1}, {"a": 1})]),
    (
        Mapping[str, int],
        {"type": "object", "additionalProperties": INTEGER},
        [({"a": 1}, {"a": 1})],
    ),
    (str | None, {"type": ["string", "null"]}, [(None, None), ("a", "a")]),
    (str | int, {"type": ["string", "integer"]}, [("1", "1"), (1, 1)]),
    (float | int, {"type": ["number", "integer"]}, [(5, 5), (5.5, 5.5)]),
    (
        Optional[list[int]],  # noqa: UP045
        {"type": ["array", "null"], "items": INTEGER},
        [([1], [1]), (None, None)],
    ),
    (
        list[int] | dict[str, int],
        {
            "anyOf": [
                {"type": "array", "items": INTEGER},
                {"type": "object", "additionalProperties": INTEGER},
            ]
        },
        [([1], [1]), ({"a": 1}, {"a": 1})],
    ),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, [("a", "a")]),
    (Literal[1, True], {"type": ["integer", "boolean"], "enum": [1, True]}, [(True, True)]),
    (
        Literal["a"] | None,
        {"type": ["string", "null"], "enum": ["a", None]},
        [("a", "a"), (None, None)],
    ),
    (Unit, {"type": "string", "enum": ["celsius", "fahrenheit"]}, [("celsius", Unit.CELSIUS)]),
    (Level, {"type": "integer", "enum": [1, 2]}, [(2, Level.HIGH)]),
    (Shape, {"type": "string", "enum": ["SQUARE", "ROUND"]}, [("ROUND", Shape.ROUND)]),
    (UserId, INTEGER, [(7, 7)]),
    (Path, STRING, [("a/b", Path("a/b"))]),
    (Decimal, {"type": "number"}, [(0.1, Decimal("0.1")), (3, Decimal(3))]),
    (
        datetime.datetime,
        {"type": "string", "format": "date-time"},
        [
            (
                "2026-01-31T12:00:00Z",
                datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc),
            )
        ],
    ),
    (
        datetime.date,
        {"type": "string", "format": "date"},
        [("2026-01-31", datetime.date(2026, 1, 31))],
    ),
    (datetime.time, {"type": "string", "format": "time"}, [("12:30:00", datetime.time(12, 30))]),
    (
        uuid.UUID,
        {"type": "string", "format": "uuid"},
        [("12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678"))],
    ),
    (Annotated[int, "How many"], {"type": "integer", "description": "How many"}, [(1, 1)]),
    (
        Annotated[int, {"minimum": 1, "maximum": 9}],
        {"type": "integer", "minimum": 1, "maximum": 9},
        [(9, 9)],
    ),
    (
        Place,
        {
            "type": "object",
            "description": "A place on the map.",
            "properties": {
                "name": {"type": "string", "description": "What it is called."},
                "lat": {"type": "number", "default": 0.0},
                "tags": {"type": "array", "items": STRING},
            },
            "required": ["name"],
            "additionalProperties": False,
        },
        [({"name": "here", "tags": ["a"]}, Place("here", tags=["a"]))],
    ),
    (
        Person,
        {
            "type": "object",
            "properties": {"name": STRING, "age": INTEGER},
            "required": ["name"],
            "additionalProperties": False,
        },
        [({"name": "Ann"}, {"name": "Ann"}), ({"name": "Ann", "age": 3},) * 2],
    ),
    (
        Point,
        {
            "type": "object",
            "properties": {"x": {"type": "number"}, "y": {"type": "number", "default": 1.0}},
            "required": ["x"],
            "additionalProperties": False,
        },
        [({"x": 2}, Point(2.0))],
    ),
    (
        Node,
        {
            "$ref": "#/$defs/Node",
            "$defs": {
                "Node": {
                    "type": "object",
                    "properties": {
                        "value": INTEGER,
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                    },
                    "required": ["value"],
                    "additionalProperties": False,
                }
            },
        },
        [({"value": 1, "children": [{"value": 2}]}, Node(1, [Node(2)]))],
    ),
]


@pytest.mark.parametrize(("hint", "schema", "pairs"), CASES, ids=lambda each: str(each)[:40])
def test_a_type_has_a_schema_and_its_objects_are_built(
    hint: Any, schema: dict[str, Any], pairs: list[tuple[Any, Any]]
) -> None:
    assert schema_of(hint) == schema
    for value, expected in pairs:
        built = build(value, hint)
        assert built == expected and type(built) is type(expected)


@pytest.mark.parametrize(("hint", "schema", "pairs"), CASES, ids=lambda each: str(each)[:40])
def test_what_is_built_satisfies_the_schema(
    hint: Any, schema: dict[str, Any], pairs: list[tuple[Any, Any]]
) -> None:
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    for value, _ in pairs:
        checker.validate(value)


# A hint, a JSON value that does not fit, and what the error says.
WRONG: list[tuple[Any, Any, str]] = [
    (str, 5, "value: expected a string, got 5"),
    (int, "5", "value: expected an integer, got '5'"),
    (int, True, "value: expected an integer, got True"),
    (int, 2.5, "value: expected an integer, got 2.5"),
    (float, "1", "value: expected a number, got '1'"),
    (bool, 1, "value: expected true or false, got 1"),
    (list[int], [1, "a"], "value[1]: expected an integer, got 'a'"),
    (list[int], {"a": 1}, "value: expected an array, got an object"),
    (set[Any], [[1]], "value: expected items that a set can have"),
    (tuple[int, int], [1], "value: expected an array of 2, got a list of 1"),
    (dict[str, int], {"a": None}, "value.a: expected an integer, got null"),
    (Literal["a", "b"], "c", "value: expected one of 'a', 'b', got 'c'"),
    (Literal[1], True, "value: expected one of 1, got True"),
    (Unit, "kelvin", "value: expected one of 'celsius', 'fahrenheit', got 'kelvin'"),
    (datetime.date, "tomorrow", "value: expected a date such as 2026-01-31, got 'tomorrow'"),
    (int | None, "x", "value: expected an integer, got 'x'; or value: expected null, got 'x'"),
    (Annotated[int, {"minimum": 1}], 0, "value: expected at least 1, got 0"),
    (Annotated[str, {"pattern": "^a"}], "b", "value: expected a text that matches ^a, got 'b'"),
    (Annotated[list[int], {"maxItems": 1}], [1, 2], "value: expected at most 1 items"),
    (Place, {}, "value: name missing"),
    (Place, {"name": "x", "nane": 1}, "value: there is no 'nane'; did you mean name?"),
    (Place, {"name": "x", "hidden": 1}, "value: there is no 'hidden'; there are name, lat, tags"),
    (Place, [], "value: expected an object, got []"),
    (list[Place], [{"name": 1}], "value[0].name: expected a string, got 1"),
    (Node, {"value": 1, "children": [{"value": "x"}]}, "value.children[0].value: expected an"),
    (Node | None, {"value": "x"}, "value.value: expected an integer, got 'x'"),
    (Person, {"name": 3}, "value.name: expected a string, got 3"),
]


@pytest.mark.parametrize(("hint", "value", "message"), WRONG)
def test_a_value_that_does_not_fit_is_named_with_its_place(
    hint: Any, value: Any, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(value, hint)
    assert str(caught.value).startswith(message)


def test_what_a_class_says_to_its_values_is_told() -> None:
    @dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("the number is odd")

    with pytest.raises(InvalidRequest, match=r"^value\[0\]: the number is odd$"):
        build([{"number": 3}], list[Even])


def test_marks_of_annotated_types_are_bounds() -> None:
    class Ge:
        ge = 1

    class Len:
        min_length, max_length = 2, 3

    assert schema_of(Annotated[int, Ge()]) == {"type": "integer", "minimum": 1}
    assert schema_of(Annotated[str, Len()]) == {"type": "string", "minLength": 2, "maxLength": 3}
    many = Annotated[list[int], Len()]
    assert schema_of(many)["minItems"] == 2
    with pytest.raises(InvalidRequest, match="expected at least 2 items, got a list of 1"):
        build([1], many)
    assert schema_of(Annotated[int, object()]) == {"type": "integer"}


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (bytes, "schema: JSON has nothing for the type bytes; use str"),
        (dict[int, str], "schema: JSON has nothing for the type dict.*use dict.str"),
        (list[complex], "schema: JSON has nothing for the type complex"),
        (Annotated[int, {"uniqueItems": True}], "the keyword 'uniqueItems' is not known here"),
    ],
)
def test_a_type_that_json_has_nothing_for_is_refused(hint: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        schema_of(hint)


def test_a_field_of_an_unknown_type_is_named() -> None:
    @dataclass
    class Bad:
        data: bytes

    with pytest.raises(InvalidRequest, match=r"^Bad\.data: JSON has nothing for the type bytes"):
        schema_of(Bad)


def test_models_of_pydantic_are_used_as_they_are() -> None:
    class Inner(pydantic.BaseModel):
        n: int = pydantic.Field(ge=1)

    class Outer(pydantic.BaseModel):
        title: str
        inner: list[Inner]

    class Open(pydantic.BaseModel, extra="allow"):
        n: int

    assert schema_of(Open)["additionalProperties"] is True
    schema = schema_of(list[Outer])
    assert schema["items"]["properties"]["title"] == STRING
    assert schema["items"]["additionalProperties"] is False
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
    assert schema["$defs"]["Inner"]["properties"]["n"] == {"type": "integer", "minimum": 1}
    built = build([{"title": "t", "inner": [{"n": 2}]}], list[Outer])
    assert built == [Outer(title="t", inner=[Inner(n=2)])]
    with pytest.raises(InvalidRequest, match=r"^value\[0\]\.inner\[0\]\.n: .* got 0$"):
        build([{"title": "t", "inner": [{"n": 0}]}], list[Outer])
    with pytest.raises(InvalidRequest, match=r"^value\[0\]\.inner: Field required"):
        build([{"title": "t"}], list[Outer])


def test_two_definitions_of_one_name_are_refused() -> None:
    def made(kind: Any) -> Any:
        inner = pydantic.create_model("Inner", n=(kind, ...))
        return pydantic.create_model("Outer", inner=(inner, ...), others=(list[inner], ...))

    with pytest.raises(InvalidRequest, match="two types are called Inner"):
        schema_of(tuple[made(int), made(str)])
