"""The arguments of a call, from the schema of a tool's parameters to rules of a grammar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cactus.chat.calls.syntax import ESCAPE
from cactus.grammar.lark import Lark
from cactus.grammar.patterns import of_format, of_pattern

END_OF_PARAMETER = "\n</parameter>\n"

_TOP = frozenset({"type", "properties", "required", "additionalProperties"})
_NOTES = frozenset(
    {"$schema", "$id", "$defs", "definitions", "$comment", "$anchor", "title", "description"}
    | {"default", "examples", "deprecated", "readOnly", "writeOnly", "x-guidance"}
)
_TOGETHER = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "$ref", "dependentSchemas"})
_PARTS = frozenset({"allOf", "if", "dependentSchemas"})
_OPEN = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties"})
_UNWRITTEN = {
    "array": frozenset({"uniqueItems", "contains", "minContains", "maxContains"} | _TOGETHER),
    "object": frozenset(
        {"patternProperties", "propertyNames", "dependentRequired", "unevaluatedProperties"}
        | _TOGETHER
    ),
}
"""Keywords of lists and objects that FunctionGemma's form leaves out."""

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_ONE = ("items", "additionalProperties")
_LEAVES = frozenset({"integer", "number", "boolean", "null"})


class Arguments:
    """Writes rules for arguments in the form of the syntax.

    Properties that are not declared are left out, unless the schema speaks of them.
    """

    def __init__(self, lark: Lark) -> None:
        self._lark, self._form = lark, lark.syntax.form
        self._referred: dict[tuple[str, str], str] = {}

    def of(self, parameters: dict[str, Any], path: str) -> str:
        """An expression for the arguments of one tool."""
        if self._form == "json":
            return self._lark.json(closed({"type": "object", **parameters}), path)
        for keyword in parameters.keys() - _TOP - _NOTES:
            self._lark.left_out(path, f"{keyword!r} cannot be enforced")
        return self._several(self._nameable(parameters, path), path, parameters, self._argument)

    def _nameable(self, parameters: dict[str, Any], path: str) -> dict[str, Any]:
        """The schema without the arguments whose names cannot be written."""
        can_name = self._lark.syntax.can_name
        properties, required = parameters.get("properties", {}), parameters.get("required", [])
        for name in dict.fromkeys([*properties, *required]):
            if not can_name(name):
                what = "its name cannot be written in the form of this model's calls"
                self._lark.left_out(f"{path}.properties.{name}", what)
        return parameters | {
            "properties": {key: value for key, value in properties.items() if can_name(key)},
            "required": [key for key in required if can_name(key)],
        }

    def _several(self, schema: Any, path: str, root: Any, write: Any) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        parts = [
            (write(key, value, f"{path}.properties.{key}", root), key in required)
            for key, value in properties.items()
        ]
        parts += [(write(key, {}, path, root), True) for key in required if key not in properties]
        between = self._lark.syntax.between_arguments
        return self._lark.several(parts, self._lark.text(between) if between else "")

    def _argument(self, key: str, schema: Any, path: str, root: Any) -> str:
        lark = self._lark
        if self._form == "python":
            return f"{lark.text(f'{key}=')} {lark.json(_alone(schema, root), path)}"
        if self._form == "escaped":
            return self._pair(key, schema, path, root)
        return f"{lark.text(f'<parameter={key}>' + chr(10))} {self._raw(schema, path, root)}"

    # -- <parameter=key>

    def _raw(self, schema: Any, path: str, root: Any) -> str:
        """A value without quotes, a text or JSON of another type, and the tag behind it."""
        end = self._lark.text(END_OF_PARAMETER)
        schema = _resolved(schema, root)
        if isinstance(schema, dict):
            values = [schema["const"]] if "const" in schema else schema.get("enum")
            if values and all(isinstance(value, str) for value in values):
                return f"({' | '.join(map(self._lark.text, values))}) {end}"
            if schema.get("type") == "string":
                return self._text(schema, path, END_OF_PARAMETER)
        return f"{self._lark.json(_alone(schema, root), path)} {end}"

    def _text(self, schema: Mapping[str, Any], path: str, end: str) -> str:
        """A text as long as its schema says, and the `end` that it does not hold."""
        low, high = schema.get("minLength", 0), schema.get("maxLength", "")
        said = ["/(?s:.)*/" if (low, high) == (0, "") else f"/(?s:.){{{low},{high}}}/"]
        found = {"pattern": of_pattern, "format": of_format}
        for keyword in sorted(schema.keys() & {*found, *_TOGETHER}):
            terminal = found[keyword](schema[keyword]) if keyword in found else None
            if terminal is None:
                what = f"{keyword!r} cannot be enforced in the form of this model's calls"
                self._lark.left_out(path, what)
            else:
                said.append(terminal)
        return self._lark.until(" & ".join(said), end)

    # -- FunctionGemma

    def _pair(self, key: str, schema: Any, path: str, root: Any) -> str:
        written = self._lark.syntax.argument(key, 0).removesuffix("0")
        return f"{self._lark.text(written)} {self._escaped(schema, path, root)}"

    def _escaped(self, schema: Any, path: str, root: Any) -> str:
        """A value with its strings between ``<escape>`` tags."""
        lark = self._lark
        if not isinstance(schema, dict):
            schema = {}
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, path, root)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            said = (lark.text(lark.syntax.value(value)) for value in values)
            return lark.rule(" | ".join(said))
        kinds = schema.get("type", ["string", "number", "boolean", "null"])
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
            said = (self._escaped({**rest, **each}, path, root) for each in options)
            return lark.rule(" | ".join(said))
        if isinstance(kinds, list):
            said = (self._escaped({**schema, "type": kind}, path, root) for kind in kinds)
            return lark.rule(" | ".join(said))
        return self._typed(kinds, schema, path, root)

    def _typed(self, kind: str, schema: dict[str, Any], path: str, root: Any) -> str:
        lark = self._lark
        if kind == "string":
            tag = lark.text(ESCAPE)
            return f"{tag} {self._text(schema, path, ESCAPE)}"
        self._note(kind, schema, path)
        if kind == "array":
            return lark.rule(self._array(schema, path, root))
        if kind == "object" and "properties" in schema:
            return f'"{{" {self._several(schema, path, root, self._pair)} "}}"'
        if kind == "object":
            more = schema.get("additionalProperties", {})
            tag, name = lark.text(ESCAPE), self._text({}, path, ESCAPE)
            value = self._escaped(more, f"{path}.additionalProperties", root)
            pair = lark.rule(f'{tag} {name} ":" {value}')
            inside = _repeated(pair, schema.get("minProperties", 0), schema.get("maxProperties"))
            return lark.rule(inside.replace('"["', '"{"').replace('"]"', '"}"'))
        return lark.json({**schema, "type": kind} if kind in _LEAVES else {}, path)

    def _array(self, schema: dict[str, Any], path: str, root: Any) -> str:
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        first = [self._escaped(each, path, root) for each in schema.get("prefixItems", [])]
        items = schema.get("items", {})
        if items is False:
            high = len(first) if high is None else min(high, len(first))
        item = self._escaped(items, f"{path}.items", root)
        if not first:
            return _repeated(item, low, high)
        count = len(first)
        more = None if high is None else max(0, high - count)
        rest = _times(f'"," {item}', max(0, low - count), more)
        for n in reversed(range(count if high is None else min(count, high))):
            rest = f"{'' if n == 0 else chr(34) + ',' + chr(34)} {first[n]} {rest}"
            rest = rest if n < low else f"({rest})?"
        return f'"[" {rest} "]"'

    def _note(self, kind: str, schema: Mapping[str, Any], path: str) -> None:
        """Note the keywords that mean something for this kind of value and are not written."""
        for keyword in sorted(schema.keys() & _UNWRITTEN.get(kind, frozenset())):
            what = f"{keyword!r} cannot be enforced in the form of this model's calls"
            self._lark.left_out(path, what)

    def _reference(self, schema: dict[str, Any], path: str, root: Any) -> str:
        key = (path.partition(".")[0], schema["$ref"])
        if key not in self._referred:
            name = self._referred[key] = self._lark.name()
            target = _resolved(schema, root)
            self._lark.rule(self._escaped(target, path, root), name)
        return self._referred[key]


def _repeated(item: str, low: int, high: int | None) -> str:
    """A list of JSON of so many items."""
    if high == 0:
        return '"[" "]"'
    more = _times(f'"," {item}', max(0, low - 1), None if high is None else high - 1)
    return f'"[" {item} {more} "]"' if low else f'"[" ({item} {more})? "]"'


def _times(item: str, low: int, high: int | None) -> str:
    """Something that comes so many times."""
    return "" if high == 0 else f"({item}){{{low},{'' if high is None else high}}}"


def _resolved(schema: Any, root: Any) -> Any:
    """A schema without a reference at its top."""
    seen = set()
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        reference = schema["$ref"]
        if reference in seen or not reference.startswith("#"):
            return {}
        seen.add(reference)
        schema = root
        for part in reference.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(name) if isinstance(schema, dict) else None
    return schema


def _alone(schema: Any, root: Any) -> dict[str, Any]:
    """A parameter's schema as a document of its own, with the definitions that it may refer to."""
    if not isinstance(schema, dict):
        return {} if schema is not False else {"not": {}}
    kept = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return closed({**kept, **schema})


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose objects have no other properties than the declared ones.

    Where a schema says something about others, or puts objects together of parts, it stays.
    """
    if not _PARTS.isdisjoint(_keys(schema)):
        return schema
    found: dict[str, Any] = _close(schema)
    return found


def _close(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    copy = dict(schema)
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            copy[key] = {name: _close(each) for name, each in value.items()}
        elif key in _LISTS and isinstance(value, list):
            copy[key] = [_close(each) for each in value]
        elif key in _ONE:
            copy[key] = _close(value)
    properties = schema.get("properties")
    if (
        isinstance(properties, dict)
        and not schema.keys() & (_OPEN | _TOGETHER)
        and set(schema.get("required", [])) <= properties.keys()
    ):
        copy["additionalProperties"] = False
    return copy


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)
