"""Any object as text for a model: a text as it is, else JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sized
from enum import Enum
from itertools import islice
from typing import Any

from cactus.errors import InvalidRequest

MOST_VALUES = 10_000
"""Of an iterator, which may have no end."""


def spell(value: Any) -> str:
    """A text as it is; anything else as JSON, what JSON has nothing for as ``str`` of it."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return str(value)
    return json.dumps(plain(value), ensure_ascii=False)


def described(error: BaseException) -> str:
    """The type of an error and what it says, whatever its class makes of that."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception:  # the caller's own class
        return kind


def plain(value: Any) -> Any:
    """`value` made of what JSON has: objects with fields become dicts, sets and tuples lists.

    Raises InvalidRequest for an iterator that gives more than 10,000 values.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):  # pydantic's
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # an array, or a number of one
        return value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [plain(each) for each in (value if isinstance(value, Sized) else _read(value))]
    return str(value)


def _read(values: Iterable[Any]) -> list[Any]:
    """All that an iterator gives."""
    read = list(islice(values, MOST_VALUES + 1))
    if len(read) > MOST_VALUES:
        kind = type(values).__name__
        raise InvalidRequest(f"a {kind} gave more than {MOST_VALUES:,} values: return a list")
    return read
