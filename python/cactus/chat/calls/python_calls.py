"""Calls that look like Python: ``[f(a="x", b=2), g()]``, with all that models make of it.

Values are Python's or JSON's, names may have dots, parameters may be Python's own words, strings
may go over lines and have their own quotes inside without a backslash. Nothing is evaluated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from cactus.chat.calls.sink import MAX_DEPTH, Sink
from cactus.chat.calls.source import Broken, Source, Steps

_NAME = re.compile(r"[\w.:/-]+")
_KEY = re.compile(r"[^\s=(),'\"\[\]{}<>][^=(),'\"\[\]{}<>]*")
_WORDS = {
    **{"True": True, "False": False, "None": None},
    **{"true": True, "false": False, "null": None},
}
_INTEGER = re.compile(r"[+-]?\d[\d_]*")
_ESCAPES = {
    **{sign: sign for sign in "\\'\""},
    **{"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"},
    "\n": "",
}
_DIGITS = {"x": 2, "u": 4, "U": 8}

Closes = Callable[[int, str], Steps[bool]]
"""Whether a quote ends its string: by what stands so far ahead, behind it, and by the string."""


def read_list(sink: Sink, strict: bool = False) -> Steps[None]:
    """Calls in square brackets. `strict`: each must be of a declared tool. Raises Broken."""
    source = sink.source
    yield from source.space()
    yield from source.need("[")
    while True:
        yield from source.space()
        yield from _read_call(sink, strict, in_list=True)
        character = yield from source.space()
        if character in ("]", ""):
            source.at += len(character)
            return
        yield from source.need(",")
        if (yield from source.space()) == "]":
            source.at += 1
            return


def read_lines(sink: Sink) -> Steps[None]:
    """Calls on lines of their own, up to something else."""
    source = sink.source
    yield from source.space()
    while True:
        yield from _read_call(sink, strict=False, in_list=False)
        begin = source.at
        character = yield from source.space()
        if character == ";":
            source.at += 1
            character = yield from source.space()
        if character in ("<", ""):
            source.at = begin
            return


def _read_call(sink: Sink, strict: bool, in_list: bool) -> Steps[None]:
    source = sink.source
    name = (yield from source.run("()[]{}<>=,;'\" \t\n")).strip()
    if not _NAME.fullmatch(name) or (strict and name not in sink.tools):
        raise Broken
    yield from source.space()
    yield from source.need("(")
    sink.name(name)
    properties = sink.tools.get(name, {}).get("properties")
    declared = list(properties) if isinstance(properties, dict) else []

    def closes(offset: int, text: str) -> Steps[bool]:
        inside = text.count("(") > text.count(")")
        known = declared if inside else None
        return (yield from _ends_argument(source, offset, known, in_list))

    arguments: dict[str, Any] = {}
    while (yield from source.space()) != ")":
        key = yield from _read_key(source)
        if key is None:  # by its place
            key = declared[len(arguments)] if len(arguments) < len(declared) else ""
        if not key or key in arguments:
            raise Broken
        arguments[key] = yield from _read_value(source, closes, 0)
        sink.piece(", " if len(arguments) > 1 else "{")
        sink.piece(json.dumps({key: arguments[key]}, ensure_ascii=False)[1:-1])
        if (yield from source.space()) != ")":
            yield from source.need(",")
    source.at += 1
    sink.piece("}" if arguments else "{}")
    sink.done(arguments)


def _read_key(source: Source) -> Steps[str | None]:
    """The name before ``=``; None where a value stands alone."""
    begin = source.at
    text = yield from source.run("=(),'\"[]{}<>")
    if (yield from source.look()) == "=" and _KEY.fullmatch(text):
        source.at += 1
        yield from source.space()
        return text.strip()
    source.at = begin
    return None


def _ends_argument(
    source: Source, offset: int, known: list[str] | None, in_list: bool
) -> Steps[bool]:
    """Whether what stands behind a quote can follow the argument of a call.

    `known`: only these parameters may. They do where the string has a call of its own that is open.
    """
    offset = yield from _past_space(source, offset)
    sign = yield from source.look(offset)
    if sign == "":
        return True
    if sign == ",":
        word, offset = yield from _word(source, offset + 1, "=(),'\"[]{}<>")
        if (yield from source.look(offset)) == ")" and not word:
            return True
        named = (yield from source.look(offset)) == "="
        return named and (known is None or word in known)
    if sign != ")":
        return False
    begin = offset + 1
    offset = yield from _past_space(source, begin)
    sign = yield from source.look(offset)
    if not in_list:
        between = source.text[source.at + begin : source.at + offset]
        return sign in ("", ";", "<") or "\n" in between
    if sign == ",":
        word, offset = yield from _word(source, offset + 1, "=(),'\"[]{}<>")
        return (yield from source.look(offset)) == ("(" if word else "]")
    return sign in ("", "]")


def _past_space(source: Source, offset: int) -> Steps[int]:
    while (yield from source.look(offset)).isspace():
        offset += 1
    return offset


def _word(source: Source, offset: int, stops: str) -> Steps[tuple[str, int]]:
    """The word so far ahead, up to one of `stops`, and where it ends."""
    begin = offset
    while (sign := (yield from source.look(offset))) and sign not in stops:
        offset += 1
    return source.text[source.at + begin : source.at + offset].strip(), offset


def _follows(source: Source, signs: str) -> Closes:
    """A quote ends its string where one of `signs` follows."""

    def closes(offset: int, _: str) -> Steps[bool]:
        offset = yield from _past_space(source, offset)
        return (yield from source.look(offset)) in ("", *signs)

    return closes


def _read_value(source: Source, closes: Closes, depth: int) -> Steps[Any]:
    first = yield from source.look()
    if first in ("'", '"'):
        return (yield from _read_string(source, first, closes))
    if first in ("[", "("):
        return (yield from _read_items(source, "]" if first == "[" else ")", depth))
    if first == "{":
        return (yield from _read_dict(source, depth))
    word = (yield from source.run(" \t\r\n,()[]{}<>='\";:")).strip()
    return _WORDS[word] if word in _WORDS else _number(word)


def _number(word: str) -> int | float:
    try:
        value = int(word) if _INTEGER.fullmatch(word) else float(word)
    except ValueError:
        raise Broken from None
    if not math.isfinite(value):
        raise Broken
    return value


def _read_items(source: Source, end: str, depth: int) -> Steps[list[Any]]:
    if depth >= MAX_DEPTH:
        raise Broken
    source.at += 1
    items: list[Any] = []
    closes = _follows(source, "," + end)
    while (yield from source.space()) != end:
        items.append((yield from _read_value(source, closes, depth + 1)))
        if (yield from source.space()) != end:
            yield from source.need(",")
    source.at += 1
    return items


def _read_dict(source: Source, depth: int) -> Steps[dict[str, Any]]:
    if depth >= MAX_DEPTH:
        raise Broken
    source.at += 1
    result: dict[str, Any] = {}
    while (yield from source.space()) != "}":
        key = yield from _read_value(source, _follows(source, ":"), depth + 1)
        name = key if isinstance(key, str) else json.dumps(key)
        yield from source.space()
        yield from source.need(":")
        yield from source.space()
        result[name] = yield from _read_value(source, _follows(source, ",}"), depth + 1)
        if (yield from source.space()) != "}":
            yield from source.need(",")
    source.at += 1
    return result


def _read_string(source: Source, quote: str, closes: Closes) -> Steps[str]:
    """A string; a quote inside it counts as its end only if what follows can follow a string."""
    source.at += 1
    if (yield from source.skip(quote * 2)):
        return (yield from source.until(quote * 3))
    pieces: list[str] = []
    while True:
        pieces.append((yield from source.run(quote + "\\")))
        sign = yield from source.look()
        if sign == "":
            raise Broken
        if sign == quote:
            ended = yield from closes(1, "".join(pieces))
            source.at += 1
            if ended:
                return "".join(pieces)
            pieces.append(quote)
        elif (yield from source.look(1)) == quote and (yield from closes(2, "".join(pieces))):
            source.at += 2  # a backslash that its writer did not escape
            return "".join([*pieces, "\\"])
        else:
            pieces.append((yield from _read_escape(source)))


def _read_escape(source: Source) -> Steps[str]:
    """What an escape stands for; one that Python does not know is text."""
    sign = yield from source.look(1)
    if sign == "":
        raise Broken
    if sign in _ESCAPES:
        source.at += 2
        return _ESCAPES[sign]
    if sign in _DIGITS:
        digits = ""
        for place in range(_DIGITS[sign]):
            digits += yield from source.look(2 + place)
        if re.fullmatch(rf"[0-9a-fA-F]{{{_DIGITS[sign]}}}", digits) and int(digits, 16) < 0x110000:
            source.at += 2 + len(digits)
            return chr(int(digits, 16))
    source.at += 1
    return "\\"
