"""The form that an answer is to have, as callers state it: checked, and one dataclass."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_origin

from cactus.errors import InvalidRequest
from cactus.inputs.checks import boolean, text
from cactus.inputs.files import read_text
from cactus.inputs.values import clean, parse_json, shown

Kind = Literal["json", "regex", "lark", "choice"]

MAX_TEXT = 1 << 20
"""Characters of a regular expression or a grammar, and of all texts to choose from."""

MAX_CHOICES = 20_000
"""Texts to choose from: two kilobytes each, when they are compiled."""

MAX_FILE = 16 << 20
"""Bytes of the file of a schema."""

_OBJECT: dict[str, Any] = {"type": "object"}

_KEYS = {"regex": "regex", "lark": "lark", "choice": "choices"}
"""In which key of a `response_format` the definition stands."""

_FORMS = "json_object, json_schema, regex, lark, choice or text"


@dataclass(frozen=True, slots=True)
class Format:
    """What an answer must be.

    `definition` is a JSON schema, a regular expression, a Lark grammar, or the texts of a choice,
    by `kind`; `where` is the option that it came from. `strict`: what the grammar cannot enforce is
    an error. `build` makes the caller's object of a JSON value that fits the schema.
    """

    kind: Kind
    definition: Any
    where: str
    strict: bool = False
    build: Callable[[Any], Any] | None = None


def response_format(name: str, value: object) -> Format | None:
    """The `response_format` of a call; None for plain text.

    OpenAI's forms (``{"type": "json_object"}``, ``{"type": "json_schema", "json_schema": {"schema":
    …, "strict": …}}``, ``{"type": "text"}``), ``{"type": "regex", "regex": …}``, ``{"type": "lark",
    "lark": …}``, ``{"type": "choice", "choices": […]}``, a list of texts to choose from, or a bare
    JSON schema. Raises InvalidRequest with the path of what is wrong.
    """
    if isinstance(value, (list, tuple)):
        return _choice(name, value)
    if not isinstance(value, Mapping):
        hint = ": a Python type is given as schema=" if isinstance(value, type) else ""
        hint = ': give {"type": "json_object"}' if value in ("json", "json_object") else hint
        raise InvalidRequest(
            f"{name}: expected a form of the answer ({_FORMS}), a JSON schema or a list of texts, "
            f"got {shown(value)}{hint}"
        )
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format("json", _OBJECT, name)
    if kind == "json_schema":
        return _named_schema(name, value)
    if isinstance(kind, str) and kind in _KEYS:  # a schema may have a list of types
        return _written(name, kind, value)
    return Format("json", schema(name, value), name)


def schema(name: str, value: object) -> dict[str, Any]:
    """A JSON schema as plain values; InvalidRequest with the path of what is not JSON."""
    found = clean(dict(value), name) if isinstance(value, Mapping) else value
    if not isinstance(found, dict):
        raise InvalidRequest(f"{name}: expected a JSON schema, got {shown(value)}")
    return found


def read_schema(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON schema in a file of at most `MAX_FILE` bytes.

    Raises InvalidRequest naming the file, and what `read_text` does where it cannot be read.
    """
    file = Path(path).expanduser()
    return schema(str(path), parse_json(read_text(file, MAX_FILE), str(path)))


def _named_schema(name: str, value: Mapping[str, Any]) -> Format:
    place = f"{name}.json_schema"
    inner = value.get("json_schema")
    if not isinstance(inner, Mapping):
        raise InvalidRequest(f"{place}: expected an object with a schema, got {shown(inner)}")
    strict = inner.get("strict")
    strict = False if strict is None else boolean(f"{place}.strict", strict)
    return Format("json", schema(f"{place}.schema", inner.get("schema")), place, strict)


def _written(name: str, kind: Any, value: Mapping[str, Any]) -> Format:
    key = _KEYS[kind]
    extra = sorted(map(str, set(value) - {"type", key}))
    if extra or key not in value:
        raise InvalidRequest(
            f"{name}: the form {kind!r} has the keys 'type' and {key!r}, got "
            f"{', '.join(map(shown, map(str, value)))}"
        )
    if kind == "choice":
        return _choice(f"{name}.{key}", value[key])
    definition = text(f"{name}.{key}", value[key])
    if not 1 <= len(definition) <= MAX_TEXT:
        raise InvalidRequest(
            f"{name}.{key}: expected 1 to {MAX_TEXT} characters, got {len(definition)}"
        )
    return Format(kind, definition, f"{name}.{key}")


def _choice(name: str, value: object) -> Format:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidRequest(f"{name}: expected a list of texts, got {shown(value)}")
    for index, each in enumerate(value):
        if not text(f"{name}[{index}]", each):
            raise InvalidRequest(f"{name}[{index}]: a text to choose must not be empty")
    if len(value) > MAX_CHOICES:
        raise InvalidRequest(
            f"{name}: {len(value)} texts to choose from; at most {MAX_CHOICES} are allowed"
        )
    size = sum(map(len, value))
    if size > MAX_TEXT:
        raise InvalidRequest(f"{name}: {size} characters of text; at most {MAX_TEXT} are allowed")
    return Format("choice", tuple(dict.fromkeys(value)), name)


def schema_option(name: str, value: object) -> Format:
    """The option `schema`: a JSON schema, as an object or as its text, or a Python type.

    Of a type, such as a dataclass, the answer's object is built.
    """
    if isinstance(value, str):
        value = parse_json(value, name)
    if isinstance(value, (type, UnionType)) or get_origin(value) is not None:
        return _of_type(name, value)
    return Format("json", schema(name, value), name)


def _of_type(name: str, hint: Any) -> Format:
    from cactus.schemas.resolve import build, schema_of

    return Format(
        "json", schema_of(hint, name), name, build=lambda found: build(found, hint, "answer")
    )
