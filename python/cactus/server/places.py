"""Where in a body something is wrong: with the numbers of places, which msgspec leaves out."""

from __future__ import annotations

import re
from typing import Any

import msgspec

MOST = 10_000
"""Places of one list that are looked at."""

_STEP = re.compile(r"\.([^.\[\]]+)|(\[\.\.\.\])|\[(\d+)\]")


def exact(value: Any, kind: Any, path: str) -> str:
    """`path`, which msgspec gives as ``$.messages[...].content``, as ``$.messages[3].content``.

    `value` is the body as plain values, of which all but the place is thrown away. What cannot be
    found keeps its dots.
    """
    root = {"": value}
    holder: Any = root
    key: Any = ""
    found = "$"
    for name, each, number in _STEP.findall(path.removeprefix("$")):
        here = holder[key]
        if each:
            key = _which(root, kind, path, holder, key)
            if key is None:
                return path
            found += f"[{key[1]}]"
            holder, key = holder[key[0]], key[2]
            continue
        step: Any = name or int(number)
        if not _has(here, step):
            return path
        found += f".{name}" if name else f"[{number}]"
        holder, key = here, step
    return found


def _which(
    root: dict[str, Any], kind: Any, path: str, holder: Any, key: Any
) -> tuple[Any, Any, Any] | None:
    """The place in a list or object at which the fault is; all others are left out of it.

    The key of what it is in, its number or name as it was, and as it is now.
    """
    inside = holder[key]
    alone: list[tuple[Any, Any, Any]]
    if isinstance(inside, dict):
        alone = [(name, {name: item}, name) for name, item in inside.items()]
    elif isinstance(inside, list):
        alone = [(number, [item], 0) for number, item in enumerate(inside[:MOST])]
    else:
        return None
    for place, only, now in alone:
        holder[key] = only
        try:
            msgspec.convert(root[""], kind)
        except msgspec.ValidationError as error:
            if str(error).endswith(f" - at `{path}`"):
                return key, place, now
    holder[key] = inside
    return None


def _has(value: Any, step: Any) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)
