"""A JSON schema from a caller, checked as far as a wrong one can be told: with the place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.text import cut
from cactus.inputs.values import shown

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_OTHER_NAMES = {
    **{"dict": "object", "map": "object", "list": "array", "tuple": "array", "set": "array"},
    **{"str": "string", "text": "string", "float": "number", "double": "number"},
    **{"int": "integer", "long": "integer", "bool": "boolean", "none": "null"},
}
_MAX_PATTERN = 10_000
# What JavaScript spells in another way than Python, which is at hand to look for mistakes, and what
# Python would warn of.
_JAVASCRIPT = re.compile(
    r"(\\\\)|\\[pP]\{[^{}]*\}|\\u\{[0-9a-fA-F]+\}|\\c[A-Za-z]|\\[ceghijklmopqyzCEFGHIJKLMOPQRTVXYZ]"
    r"|--|&&|~~|\|\||(?<=\[)\["
)

Check = Callable[[Any, str], None]


def check_schema(schema: Any, name: str) -> None:
    """Raises InvalidRequest naming the place (``tools[3].parameters.properties.x.type``).

    What JSON schema does not define is left alone. References are not followed.
    """
    rest = [(schema, name)]
    while rest:
        part, place = rest.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            raise InvalidRequest(f"{place}: expected a JSON schema, got {shown(part)}")
        for key, value in part.items():
            if key in _CHECKS:
                _CHECKS[key](value, f"{place}.{key}")
        rest += reversed(_parts(part, place))


def _parts(schema: dict[str, Any], place: str) -> list[tuple[Any, str]]:
    """The schemas in a schema, with their places."""
    found: list[tuple[Any, str]] = []
    for key, value in schema.items():
        where = f"{place}.{key}"
        if key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            found += [(inner, f"{where}.{name}") for name, inner in value.items()]
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems") or (
            key == "items" and isinstance(value, list)
        ):
            found += [(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
        elif key in _ONE_SCHEMA:
            found.append((value, where))
    return found


_ONE_SCHEMA = frozenset(
    (
        *("items", "additionalProperties", "contains", "not", "if", "then", "else"),
        *("additionalItems", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    )
)


def _kinds(value: Any, name: str) -> None:
    kinds = value if isinstance(value, list) and value else [value]
    for index, kind in enumerate(kinds):
        if kind not in TYPES or not isinstance(kind, str):
            place = f"{name}[{index}]" if isinstance(value, list) and value else name
            other = _OTHER_NAMES.get(kind.lower()) if isinstance(kind, str) else None
            hint = f"; JSON schema calls it {other!r}" if other else ""
            raise InvalidRequest(
                f"{place}: expected one of {', '.join(TYPES)}, got {shown(kind)}{hint}"
            )


def _object(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: expected an object, got {shown(value)}")


def _schemas(value: Any, name: str) -> None:
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"{name}: expected a list of JSON schemas, got {shown(value)}")


def _values(value: Any, name: str) -> None:
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"{name}: expected a list of values, got {shown(value)}")


def _names(value: Any, name: str) -> None:
    if not isinstance(value, list):
        raise InvalidRequest(f"{name}: expected a list of names, got {shown(value)}")
    for index, key in enumerate(value):
        if not isinstance(key, str):
            raise InvalidRequest(f"{name}[{index}]: expected a string, got {shown(key)}")


def _string(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: expected a string, got {shown(value)}")


def _number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(f"{name}: expected a number, got {shown(value)}")


def _bound(value: Any, name: str) -> None:
    """``exclusiveMinimum`` and its like were true or false in draft 4."""
    if not isinstance(value, bool):
        _number(value, name)


def _count(value: Any, name: str) -> None:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
    if not whole or value < 0:
        raise InvalidRequest(f"{name}: expected an integer from 0, got {shown(value)}")


def _pattern(value: Any, name: str) -> None:
    _string(value, name)
    if len(value) > _MAX_PATTERN:
        raise InvalidRequest(
            f"{name}: the pattern has {len(value)} characters; at most {_MAX_PATTERN} are read"
        )
    spelled = _JAVASCRIPT.sub(lambda match: match[1] or "x", value)
    spelled = re.sub(r"\(\?<(?![=!])", "(?P<", spelled)
    try:
        re.compile(spelled)
    except (re.error, RecursionError, OverflowError) as error:
        if "look-behind" in str(error):  # JavaScript's may have any width
            return
        raise InvalidRequest(
            f"{name}: expected a regular expression, got {shown(value)}: {error}"
        ) from None


def _patterns(value: Any, name: str) -> None:
    _object(value, name)
    for pattern in value:
        _pattern(pattern, f"{name}.{cut(pattern)}")


_CHECKS: dict[str, Check] = {
    "type": _kinds,
    **dict.fromkeys(("properties", "$defs", "definitions", "dependentSchemas"), _object),
    "patternProperties": _patterns,
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _schemas),
    "enum": _values,
    "required": _names,
    **dict.fromkeys(("$ref", "description", "title", "format", "$id", "$schema"), _string),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), _bound),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _count),
    **dict.fromkeys(("minProperties", "maxProperties"), _count),
    "pattern": _pattern,
}
