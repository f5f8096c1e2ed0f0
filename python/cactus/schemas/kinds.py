"""What a type hint asks of a JSON value: each kind has its JSON schema, and builds an object.

An error names the place of the value (``person.children[2].age``), what was expected and what was
given. The keywords are those of JSON Schema 2020-12.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.values import shown

Schema = dict[str, Any]


class Definitions:
    """The ``$defs`` of a schema: types that contain themselves; all others stand where they are."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._names: dict[object, str] = {}
        self._open: list[object] = []

    def of(self, owner: object, name: str, make: Callable[[], Schema]) -> Schema:
        """The schema that ``make`` gives for the type ``owner``, or a reference to it."""
        if owner in self._names:
            return self._reference(owner)
        if owner in self._open:
            self._names[owner] = self._free(name)
            return self._reference(owner)
        self._open.append(owner)
        try:
            schema = make()
        finally:
            self._open.remove(owner)
        if owner not in self._names:
            return schema
        self.schemas[self._names[owner]] = schema
        return self._reference(owner)

    def add(self, schemas: Mapping[str, Schema]) -> None:
        """Definitions that others refer to by name. Raises InvalidRequest for two of one name."""
        for name, schema in schemas.items():
            if self.schemas.setdefault(name, schema) != schema:
                raise InvalidRequest(
                    f"two types are called {name}, and one schema cannot have both: rename one"
                )

    def _free(self, name: str) -> str:
        taken = {*self.schemas, *self._names.values()}
        while name in taken:
            name += "_"
        return name

    def _reference(self, owner: object) -> Schema:
        return {"$ref": f"#/$defs/{self._names[owner]}"}


class Kind(ABC):
    """A type hint, read."""

    @abstractmethod
    def schema(self, defs: Definitions) -> Schema:
        """Its JSON schema."""

    @abstractmethod
    def build(self, value: Any, place: str) -> Any:
        """The object that a JSON value stands for. Raises InvalidRequest naming the place."""


def wrong(place: str, wanted: str, value: object) -> InvalidRequest:
    """The error for a value that does not fit."""
    return InvalidRequest(f"{place}: expected {wanted}, got {shown(value)}")


class Anything(Kind):
    """Any JSON value, as it is."""

    def schema(self, defs: Definitions) -> Schema:
        return {}

    def build(self, value: Any, place: str) -> Any:
        return value


NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
WANTED = {
    str: "a string", int: "an integer", float: "a number", bool: "true or false",
    type(None): "null",
}  # fmt: skip


@dataclass(frozen=True)
class Plain(Kind):
    """A string, number, boolean or null."""

    type: type

    def schema(self, defs: Definitions) -> Schema:
        return {"type": NAMES[self.type]}

    def build(self, value: Any, place: str) -> Any:
        if type(value) is self.type:
            return value
        if self.type is int and type(value) is float and value.is_integer():
            return int(value)  # JSON knows one kind of number: 2.0 is an integer
        if self.type is float and type(value) is int:
            return float(value)
        raise wrong(place, WANTED[self.type], value)


@dataclass(frozen=True)
class Spelled(Kind):
    """An object that JSON spells as a string or number: a date, a UUID, a path."""

    schema_of: Schema
    wanted: str
    parse: Callable[[Any], Any]

    def schema(self, defs: Definitions) -> Schema:
        return dict(self.schema_of)

    def build(self, value: Any, place: str) -> Any:
        types: tuple[type, ...] = (str,) if self.schema_of["type"] == "string" else (int, float)
        if type(value) not in types:
            raise wrong(place, self.wanted, value)
        try:
            return self.parse(value)
        except (ValueError, ArithmeticError):
            raise wrong(place, self.wanted, value) from None


class Choice(Kind):
    """One of a few values: of a Literal, or of an Enum by its values, or names where those are
    not JSON."""

    def __init__(self, choices: Sequence[Any]) -> None:
        plain = tuple(NAMES)
        members = [choice for choice in choices if isinstance(choice, Enum)]
        by_name = any(type(member.value) not in plain for member in members)
        self.choices = [
            (
                (choice.name if by_name else choice.value) if isinstance(choice, Enum) else choice,
                choice,
            )
            for choice in choices
        ]

    def schema(self, defs: Definitions) -> Schema:
        values = [value for value, _ in self.choices]
        names = list(dict.fromkeys(NAMES[type(value)] for value in values))
        return {"type": names[0] if len(names) == 1 else names, "enum": values}

    def build(self, value: Any, place: str) -> Any:
        for known, choice in self.choices:
            if type(known) is type(value) and known == value:
                return choice
        raise wrong(place, "one of " + ", ".join(repr(known) for known, _ in self.choices), value)


@dataclass(frozen=True)
class Array(Kind):
    """A list, or what is made of one."""

    item: Kind
    make: Callable[[list[Any]], Any]

    def schema(self, defs: Definitions) -> Schema:
        item = self.item.schema(defs)
        return {"type": "array", "items": item} if item else {"type": "array"}

    def build(self, value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise wrong(place, "an array", value)
        try:
            return self.make(
                [self.item.build(each, f"{place}[{n}]") for n, each in enumerate(value)]
            )
        except TypeError:
            raise wrong(place, "items that a set can have", value) from None


@dataclass(frozen=True)
class Tuple(Kind):
    """An array of a fixed length, each place of its own kind."""

    items: Sequence[Kind]

    def schema(self, defs: Definitions) -> Schema:
        count = len(self.items)
        items = {"prefixItems": [item.schema(defs) for item in self.items]} if count else {}
        return {"type": "array", **items, "items": False, "minItems": count, "maxItems": count}

    def build(self, value: Any, place: str) -> Any:
        if not isinstance(value, list) or len(value) != len(self.items):
            raise wrong(place, f"an array of {len(self.items)}", value)
        return tuple(
            kind.build(each, f"{place}[{n}]")
            for n, (kind, each) in enumerate(zip(self.items, value, strict=True))
        )


@dataclass(frozen=True)
class Table(Kind):
    """An object with any keys."""

    item: Kind

    def schema(self, defs: Definitions) -> Schema:
        item = self.item.schema(defs)
        return {"type": "object", **({"additionalProperties": item} if item else {})}

    def build(self, value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise wrong(place, "an object", value)
        return {key: self.item.build(each, f"{place}.{key}") for key, each in value.items()}


class AnyOf(Kind):
    """The first kind that takes the value; an integer is one before it is a float."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds

    def schema(self, defs: Definitions) -> Schema:
        schemas = [kind.schema(defs) for kind in self.kinds]
        if {} in schemas:
            return {}
        null = {"type": "null"}
        others = [schema for schema in schemas if schema != null]
        if all(schema.keys() == {"type"} for schema in others):
            names = [name for schema in schemas for name in _listed(schema["type"])]
            return {"type": names}
        if null in schemas and len(others) == 1 and "type" in others[0]:
            only = {**others[0], "type": [*_listed(others[0]["type"]), "null"]}
            return only | ({"enum": [*only["enum"], None]} if "enum" in only else {})
        return {"anyOf": schemas}

    def build(self, value: Any, place: str) -> Any:
        reasons = []
        for kind in sorted(self.kinds, key=lambda kind: kind == Plain(float)):
            try:
                return kind.build(value, place)
            except InvalidRequest as error:
                reasons.append(str(error))
        deeper = [reason for reason in reasons if not reason.startswith(f"{place}:")]
        raise InvalidRequest("; or ".join(deeper or reasons))


def _listed(name: str | list[str]) -> list[str]:
    return [name] if isinstance(name, str) else name
