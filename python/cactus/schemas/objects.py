"""Objects with named fields: the arguments of functions, dataclasses, TypedDicts, named tuples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.checks import nearest
from cactus.inputs.values import shown
from cactus.schemas.kinds import Definitions, Kind, Schema, wrong
from cactus.schemas.spell import described


@dataclass(frozen=True)
class Field:
    """One field. ``default`` is shown to the model where it is plain JSON."""

    kind: Kind
    required: bool = True
    default: Any = None
    description: str | None = None

    def schema(self, defs: Definitions) -> Schema:
        """Its schema, with what else is known of it."""
        schema = self.kind.schema(defs)
        if self.description and "description" not in schema:
            schema = {**schema, "description": self.description}
        default = self.default.value if isinstance(self.default, Enum) else self.default
        finite = not isinstance(default, float) or math.isfinite(default)
        if isinstance(default, (str, int, float)) and finite and not self.required:
            schema = {**schema, "default": default}
        return schema


class Record(Kind):
    """An object of a type with fields. ``make`` gets those that are there, built.

    The fields are read when they are needed, since a type may contain itself.
    """

    def __init__(
        self,
        owner: object,
        name: str,
        fields: Callable[[], Mapping[str, Field]],
        make: Callable[[dict[str, Any]], Any],
        description: str | None = None,
        closed: bool = True,
    ) -> None:
        self.owner, self.name, self.make, self.closed = owner, name, make, closed
        self.description = description
        self._read = fields
        self._fields: Mapping[str, Field] | None = None

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields by name."""
        if self._fields is None:
            self._fields = self._read()
        return self._fields

    def schema(self, defs: Definitions) -> Schema:
        return defs.of(self.owner, self.name, lambda: self._schema(defs))

    def _schema(self, defs: Definitions) -> Schema:
        schema: Schema = {"type": "object"}
        if self.description:
            schema["description"] = self.description
        schema["properties"] = {name: each.schema(defs) for name, each in self.fields.items()}
        required = [name for name, each in self.fields.items() if each.required]
        if required:
            schema["required"] = required
        if self.closed:
            schema["additionalProperties"] = False
        return schema

    def build(self, value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise wrong(place, "an object", value)
        for name in value:
            if name not in self.fields:
                near = nearest(str(name), self.fields)
                known = ", ".join(self.fields) or "none"
                hint = f"did you mean {near}?" if near else f"there are {known}"
                raise InvalidRequest(f"{place}: there is no {shown(name)}; {hint}")
        missing = [n for n, each in self.fields.items() if each.required and n not in value]
        if missing:
            raise InvalidRequest(f"{place}: {', '.join(missing)} missing")
        built = {
            name: each.kind.build(value[name], f"{place}.{name}")
            for name, each in self.fields.items()
            if name in value
        }
        try:
            return self.make(built)
        except (TypeError, ValueError) as error:  # what a class says to its own values
            raise InvalidRequest(f"{place}: {error}") from error
        except Exception as error:  # such as an assertion, or a class that breaks
            raise InvalidRequest(f"{place}: {described(error)}") from error


class Pydantic(Kind):
    """A model of pydantic, which knows its schema and checks its values itself."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def schema(self, defs: Definitions) -> Schema:
        schema: Schema = tidied(self.model.model_json_schema())
        defs.add(schema.pop("$defs", {}))
        return schema

    def build(self, value: Any, place: str) -> Any:
        try:
            return self.model.model_validate(value)
        except ValueError as error:
            details = error.errors() if hasattr(error, "errors") else []
            if not details:
                raise InvalidRequest(f"{place}: {error}") from None
            first = details[0]
            steps = [f"[{s}]" if isinstance(s, int) else f".{s}" for s in first["loc"]]
            raise InvalidRequest(
                f"{place}{''.join(steps)}: {first['msg']}, got {shown(first.get('input'))}"
            ) from None


_ONE = ("items", "additionalProperties", "not", "contains", "if", "then", "else")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "patternProperties")


def tidied(schema: Any) -> Any:
    """A schema of pydantic without the titles that it makes of names, which cost a prompt tokens.

    Objects that do not say that they allow other properties allow none: pydantic would throw away
    what a model invents.
    """
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title"}
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    for key, value in kept.items():
        if key in _ONE:
            kept[key] = tidied(value)
        elif key in _MANY:
            kept[key] = [tidied(each) for each in value]
        elif key in _NAMED:
            kept[key] = {name: tidied(each) for name, each in value.items()}
    return kept
