"""Schemas that would take too long to compile: refused before, or given up after half a second."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.text import cut
from cactus.inputs.values import shown

SECONDS = 0.5
"""Of work that a compilation may take."""

MOST_CHARACTERS = 1 << 20
"""Of a schema as JSON."""

MOST_MEMBERS = {"properties": 500, "enum": 10_000, "allOf": 16, "anyOf": 500, "oneOf": 500}
"""Members of one keyword: compiling takes longer than in proportion to them."""

MOST_EXPLAINED = 1 << 15
"""Characters of a schema whose mistakes are looked for: that takes longer than compiling it."""

MOST_REMAINDERS = 50_000
"""Remainders by a `multipleOf`, without zeros at its end and point, of which the compiler makes a
state each: of all in a schema together, and of what is a multiple of all of them."""

EXACT = 1 << 53
"""Up to it, doubles hold all integers: the compiler has no others."""


def check_size(schema: Any, where: str) -> None:
    """InvalidRequest with the path of what makes a schema too large to be compiled."""
    for number in _integers(schema):
        if not -(1 << 63) <= number < 1 << 64:
            raise InvalidRequest(f"{where}: the integer {shown(number)} has more than 64 bits")
    size = len(json.dumps(schema))
    if size > MOST_CHARACTERS:
        raise InvalidRequest(
            f"{where}: the schema has {size} characters; at most {MOST_CHARACTERS} are compiled"
        )
    together, common = 0, 1
    for path, key, value in keywords(schema, where):
        if key == "multipleOf" and type(value) in (int, float) and value > 0:
            digits = Decimal(str(value)).normalize().as_tuple().digits
            count = int("".join(map(str, digits)))
            together, common = together + count, math.lcm(common, count)
            if max(together, common) > MOST_REMAINDERS:
                raise InvalidRequest(
                    f"{path}.multipleOf: {shown(value)} makes too many remainders to be told apart "
                    f"in a grammar, with those before: {max(together, common):,}, at most "
                    f"{MOST_REMAINDERS:,}"
                )
        most = MOST_MEMBERS.get(key)
        if most is not None and isinstance(value, (list, dict)) and len(value) > most:
            raise InvalidRequest(
                f"{path}.{key}: {len(value)} members; at most {most} are compiled into a grammar"
            )
        for number in _integers(value) if key in ("const", "enum") else ():
            if abs(number) > EXACT:
                raise InvalidRequest(
                    f"{path}.{key}: the integer {shown(number)} is beyond 2**53, which a grammar "
                    "cannot tell from its neighbours; give it as a text"
                )
        if key == "$ref" and isinstance(value, str) and not value.startswith("#"):
            raise InvalidRequest(
                f"{path}.$ref: {short(value)} is another document, which is not fetched; "
                "put the definition under $defs"
            )


def _integers(value: Any) -> Iterator[int]:
    """All integers in a value of JSON."""
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, int):
            yield value
        elif isinstance(value, (dict, list)):
            rest += value.values() if isinstance(value, dict) else value


def keywords(schema: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """The keywords of a schema and of those in it: path, keyword and value."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        yield path, key, value
        if key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            if isinstance(value, dict):
                for name, each in value.items():
                    yield from keywords(each, f"{path}.{key}.{cut(name)}")
        elif key not in ("const", "enum", "default", "examples"):
            if isinstance(value, list):
                for n, each in enumerate(value):
                    yield from keywords(each, f"{path}.{key}[{n}]")
            else:
                yield from keywords(value, f"{path}.{key}")


def explained(error: str, schema: Any, where: str) -> str:
    """An error of the compiler in terms of the schema: where it is, and which keyword."""
    return _explained(error, json.dumps(schema), where)


@lru_cache(maxsize=16)  # a schema that is enforced in part is looked at with every request
def _explained(error: str, text: str, where: str) -> str:
    schema = json.loads(text)
    if len(text) <= MOST_EXPLAINED:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match

        meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
        invalid = best_match(meta.iter_errors(schema))
        if invalid is not None:
            return f"{where}{invalid.json_path[1:]}: {cut(invalid.message, 200)}"
    first = error.partition("\n")[0]
    for path, key, value in keywords(schema, where):
        named = re.search(rf'"{re.escape(key)}"|\b{re.escape(key)} constraints', error)
        if named:
            return f"{path}.{key}: {key!r} cannot be enforced here"
        if key == "format" and error.startswith("Unknown format") and error.endswith(f" {value}"):
            return f"{path}.format: the format {value!r} is not known"
        if key == "pattern" and "regex" in error:
            return f"{path}.pattern: {short(value)} cannot be enforced: {_last(error)}"
        if key == "$ref" and isinstance(value, str) and value[1:] and value[1:] in error:
            return f"{path}.$ref: {value!r} does not exist"
    if "NoExtension" in error:
        return f"{where}: no value fits the schema; does a $ref lead to itself?"
    return f"{where}: {first}"


def _last(error: str) -> str:
    return cut(error.rpartition("error: ")[2].partition("\n")[0], 120)
