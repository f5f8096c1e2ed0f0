"""Values of arguments that a syntax writes without quotes: their types come from the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cactus.chat.calls.json_calls import parse_whole
from cactus.chat.calls.source import Broken

_WORDS = {"True": True, "False": False, "None": None}
_DEPTH = 16


def parameter(tool: Mapping[str, Any], name: str) -> Any:
    """The schema of a parameter; None if it is not declared."""
    properties = tool.get("properties")
    return properties.get(name) if isinstance(properties, Mapping) else None


def value_of(text: str, schema: Any, root: Mapping[str, Any]) -> Any:
    """What `text` stands for: a string where the schema wants one or nothing else fits."""
    types = types_of(schema, root)
    if types == {"string"}:
        return text
    inner = text.strip()
    try:
        value = _WORDS[inner] if inner in _WORDS else parse_whole(inner)
    except Broken:
        return text
    return value if types is None or _fits(value, types) else text


def types_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> set[str] | None:
    """The names of the types that a schema allows; None if it does not say."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None
    if isinstance(schema.get("$ref"), str):
        return types_of(_referred(schema["$ref"], root), root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return {each for each in kind if isinstance(each, str)}
    if "const" in schema:
        return {_type(schema["const"])}
    if isinstance(schema.get("enum"), list):
        return {_type(value) for value in schema["enum"]}
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found: set[str] = set()
            for each in schema[key]:
                inner = types_of(each, root, depth + 1)
                if inner is None:
                    return None
                found |= inner
            return found
    return None


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """What a reference inside the document points to; None if nothing."""
    place: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        place = place.get(name) if isinstance(place, Mapping) else None
    return place if reference.startswith("#") else None


def _type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    names = ((str, "string"), (int, "integer"), (float, "number"), (list, "array"))
    return next((name for kind, name in names if isinstance(value, kind)), "object")


def _fits(value: Any, types: set[str]) -> bool:
    kind = _type(value)
    return kind in types or (kind == "integer" and "number" in types)
