"""Answers put through a parser, cut in any way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cactus.chat.calls.parser import CallParser, Found
from cactus.chat.calls.syntax import Syntax

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"location": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["location"],
}
TOOLS: dict[str, Mapping[str, Any]] = {
    "get_weather": WEATHER,
    "now": {"type": "object", "properties": {}},
    "write": {"type": "object", "properties": {"content": {"type": "string"}, "x": {}}},
    "memory.get": {"type": "object", "properties": {"from": {"type": "integer"}}},
}

Calls = list[tuple[str, Any]]


def found_in(
    syntax: Syntax, pieces: Iterable[str], tools: Mapping[str, Any] = TOOLS
) -> list[Found]:
    """All that a parser tells of an answer that comes in `pieces`."""
    parser = CallParser(syntax, tools)
    found = [each for piece in pieces for each in parser.push(piece)]
    return found + parser.flush()


def comes_to(found: Sequence[Found]) -> tuple[str, Calls]:
    """The text and the calls. Checks that what is told of each call agrees with itself."""
    text, calls = "", []
    name, pieces = None, ""
    for each in found:
        if each.kind == "text":
            text += each.text
            assert name is None, "text in the middle of a call"
        elif each.kind == "begin":
            assert name is None
            name, pieces = each.text, ""
        elif each.kind == "piece":
            assert name is not None
            pieces += each.text
        elif each.kind == "end":
            assert pieces == json.dumps(each.arguments, ensure_ascii=False)
            assert name is not None
            calls.append((name, each.arguments))
            name = None
        else:
            name = None
    assert name is None, "a call that neither ended nor was dropped"
    return text, calls


def read(
    syntax: Syntax, answer: str, tools: Mapping[str, Any] = TOOLS, sizes: Iterable[int] = ()
) -> tuple[str, Calls]:
    """The text and the calls of an answer; the same in pieces of one, two, seven characters."""
    whole = comes_to(found_in(syntax, [answer], tools))
    for size in (1, 2, 7, *sizes):
        pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
        assert comes_to(found_in(syntax, pieces, tools)) == whole, f"in pieces of {size}"
    return whole
