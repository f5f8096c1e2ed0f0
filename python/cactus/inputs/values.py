"""JSON values from a caller: read with limits, checked once, free of what would fail later."""

from __future__ import annotations

import json
import math
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.text import clean_text, cut

MAX_DEPTH = 64
MAX_JSON = 256 << 20  # characters


def parse_json(text: str, name: str) -> Any:
    """A JSON text as Python values. Raises InvalidRequest for anything that is not strict JSON.

    NaN and infinities are refused, nesting is limited to ``MAX_DEPTH``, length to ``MAX_JSON``.
    """
    if len(text) > MAX_JSON:
        raise InvalidRequest(
            f"{name}: the JSON has {len(text)} characters; at most {MAX_JSON} are read"
        )

    def refuse(constant: str) -> None:
        raise InvalidRequest(f"{name}: {constant} is not JSON; expected a finite number")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise InvalidRequest(f"{name}: nested more than {MAX_DEPTH} levels deep") from None
    except InvalidRequest:
        raise
    except ValueError as error:
        raise InvalidRequest(f"{name}: expected valid JSON, got {shown(text)}: {error}") from None


def clean(value: Any, name: str, depth: int = 0) -> Any:
    """A copy of a JSON value made of plain ``dict``, ``list``, ``str``, numbers and None.

    Lone surrogates in strings become U+FFFD. Raises InvalidRequest naming the place
    (``messages[3].content``) of what is not JSON, of NaN, and of nesting past ``MAX_DEPTH``.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequest(f"{name}: expected a finite number, got {value}")
        return float(value)
    if depth >= MAX_DEPTH:
        raise InvalidRequest(f"{name}: nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidRequest(f"{name}: expected strings as keys, got {shown(key)}")
            copy[clean_text(key)] = clean(item, f"{name}.{cut(key)}", depth + 1)
        return copy
    if isinstance(value, (list, tuple)):
        return [clean(item, f"{name}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise InvalidRequest(f"{name}: expected a JSON value, got {shown(value)}")


def shown(value: Any) -> str:
    """A value as an error message shows it: short, null for None."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list, tuple)) and value:
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    return short(value)
