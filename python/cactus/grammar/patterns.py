"""Patterns and formats of JSON Schema as expressions of Lark, for texts without quotes."""

from __future__ import annotations

import re
from typing import Any

_DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"[1-9][0-9]{{3}}-{_DAY}"
_TIME = (
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_WORD = "[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "email": f"{_WORD}@{_WORD}",
    "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}
"""What is said of these formats; it may be less than their standards allow, and never more."""

_APART = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
_GROUP = re.compile(r"\([^()]*\)")


def of_format(name: Any) -> str | None:
    """The terminal of a format; None where it has none here."""
    expression = FORMATS.get(name) if isinstance(name, str) else None
    return None if expression is None else f"/{expression}/"


def of_pattern(pattern: Any) -> str | None:
    """The terminal of all texts in which a `pattern` is found; None where that cannot be said."""
    if not isinstance(pattern, str):
        return None
    begins = pattern.startswith("^")
    inner = pattern[begins:]
    ends = inner.endswith("$") and _is_sign(inner)
    inner = inner[: len(inner) - ends]
    plain = _APART.sub("", inner)
    if "^" in plain or "$" in plain:
        return None
    while _GROUP.search(plain):
        plain = _GROUP.sub("", plain)
    if "|" in plain and (begins or ends):
        return None  # the anchors belong to one of the alternatives alone
    from llguidance import regex_to_lark

    before, behind = "" if begins else "(?s:.*)", "" if ends else "(?s:.*)"
    return f"/{before}(?:{regex_to_lark(inner, 'dw')}){behind}/"


def _is_sign(pattern: str) -> bool:
    """Whether the last character of a pattern is not escaped."""
    stripped = pattern[:-1]
    return (len(stripped) - len(stripped.rstrip("\\"))) % 2 == 0
