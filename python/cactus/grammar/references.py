"""How deep the references of a JSON schema lead, and what they put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from cactus.errors import InvalidRequest
from cactus.grammar.keywords import keywords
from cactus.grammar.sizes import MOST_WAYS, check_ways, size_of
from cactus.post_order import post_order

MOST_LEVELS = 2000
"""Of a schema and of all that its references lead to, each once: the compiler goes that deep, with
ten kilobytes of the stack for each (`underway.STACK`)."""

FORMAT_WAYS = 10
"""In which a character may fit a format of the compiler's."""


def check_references(schema: Any, where: str) -> None:
    """InvalidRequest where references lead too deep, or too many patterns are put together."""
    if not isinstance(schema, dict):
        return
    targets = _targets(schema)
    levels: dict[int, int] = {}
    ways: dict[int, int] = {}
    for value in post_order([schema], lambda value: _parts(value, targets), id):
        inner = value.values() if isinstance(value, dict) else value
        deepest = max((levels.get(id(each), 0) for each in inner), default=0)
        levels[id(value)] = deepest + isinstance(value, dict)
        if isinstance(value, dict):
            ways[id(value)] = _ways(value, ways, targets)
    deep = levels.get(id(schema), 0) + sum(levels.get(id(each), 0) for each in targets.values())
    if deep > MOST_LEVELS:
        raise InvalidRequest(
            f"{where}: the schema and what its {len(targets)} references ($ref) lead to are "
            f"{deep:,} levels deep, one inside of another; at most {MOST_LEVELS:,} are compiled"
        )
    check_ways(ways.get(id(schema), 1), where)


def _targets(schema: Any) -> dict[str, Any]:
    """What the references in a schema lead to."""
    found = list(keywords(schema, ""))
    refs = {value for _, key, value in found if key == "$ref" and isinstance(value, str)}
    # Where only the compiler knows, it is no more than all patterns at once, or all levels.
    said = [{key: value} for _, key, value in found if key in ("pattern", "format")]
    anywhere = {"allOf": said, "$defs": schema}
    if any(key == "$id" and path and str(value)[:1] != "#" for path, key, value in found):
        return dict.fromkeys(refs, anywhere)
    return {ref: _target(schema, ref, anywhere) for ref in refs}


def _target(schema: Any, ref: str, unknown: Any) -> Any:
    """What a reference leads to, by its names."""
    found = schema
    if ref not in ("", "#") and not ref.startswith("#/"):
        return unknown
    for part in unquote(ref).split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            return unknown
    return found


def _parts(value: Any, targets: Mapping[str, Any]) -> list[Any]:
    """The objects and lists in one, and those that it refers to."""
    inner = [*value.values()] if isinstance(value, dict) else value
    ref = value.get("$ref") if isinstance(value, dict) else None
    referred = [targets[ref]] if isinstance(ref, str) and ref in targets else []
    return [each for each in (*inner, *referred) if isinstance(each, (dict, list))]


def _ways(schema: dict[str, Any], known: Mapping[int, int], targets: Mapping[str, Any]) -> int:
    """The ways of the patterns that meet at one place of a value, where these are the most."""
    here, inside, same = 1, 1, 1
    for key, value in schema.items():
        several = value if isinstance(value, list) else [value]
        if key in ("properties", "patternProperties") and isinstance(value, dict):
            several = list(value.values())
        each = [known.get(id(part), 1) for part in several]
        if key == "pattern" and isinstance(value, str):
            here *= size_of(value).ways
        elif key == "format":
            here *= FORMAT_WAYS
        elif key == "$ref" and isinstance(value, str):
            same *= known.get(id(targets.get(value)), 1)
        elif key in ("anyOf", "oneOf"):
            same *= max(each, default=1)
        elif key == "allOf":
            for ways in each:
                same = min(same * ways, MOST_WAYS + 1)
        elif key in ("properties", "patternProperties"):
            inside *= max(each, default=1)
        elif key in ("items", "prefixItems", "additionalProperties", "additionalItems"):
            inside = max(inside, *each, 1)
    return min(max(here, inside) * same, MOST_WAYS + 1)
