"""Where in a body something is wrong: with the numbers of places, which msgspec leaves out."""

from __future__ import annotations

import re
from typing import Any

import msgspec

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

    The key of what it is in, its number or name as it was, and as it is now. Half of the places
    are left out at a time: each look takes as long as checking all of the body does.
    """
    inside = holder[key]
    if not isinstance(inside, (dict, list)) or not inside:
        return None
    places: list[Any] = list(inside) if isinstance(inside, dict) else list(range(len(inside)))

    def is_in(low: int, high: int) -> bool:
        holder[key] = (
            {name: inside[name] for name in places[low:high]}
            if isinstance(inside, dict)
            else inside[low:high]
        )
        return _is_at(root[""], kind, path)

    low, high = 0, len(places)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_in(low, middle) else (middle, high)
    if not is_in(low, high):
        holder[key] = inside
        return None
    return key, places[low], places[low] if isinstance(inside, dict) else 0


def _is_at(value: Any, kind: Any, path: str) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error).endswith(f" - at `{path}`")
    return False


def _has(value: Any, step: Any) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)
