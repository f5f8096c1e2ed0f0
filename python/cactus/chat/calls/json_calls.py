"""Calls that are JSON: ``{"name": "f", "arguments": {...}}``, alone or in a list."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any

from cactus.chat.calls.sink import MAX_DEPTH, Sink
from cactus.chat.calls.source import Broken, Source, Steps
from cactus.inputs.text import clean_text

_PLAIN = re.compile(r'[^"\\]+')
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_WORDS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_ESCAPES = {
    **{sign: sign for sign in '"\\/'},
    **{"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"},
}
_ARGUMENTS = ("arguments", "parameters")

Emit = Callable[[str], None]


def nowhere(_: str) -> None:
    """An `Emit` for what is not shown."""


def read_calls(sink: Sink, bare: Collection[str] = ()) -> Steps[None]:
    """One call, a list of calls, or several behind each other with ``,`` or ``;`` or only space.

    `bare`: nothing but the calls tells that they are some, so each must be of a declared tool, with
    its name and, under one of these keys, its arguments, and with nothing else. Raises Broken.
    """
    source = sink.source
    listed = (yield from source.space()) == "["
    if listed:
        source.at += 1
        yield from source.space()
    while True:
        yield from _read_call(sink, bare)
        begin = source.at
        character = yield from source.space()
        if listed and character in ("]", ""):
            source.at += len(character)
            return
        if character == "," or (character == ";" and not listed):
            source.at += 1
            character = yield from source.space()
        elif listed:
            raise Broken
        if not listed and character != "{":
            source.at = begin
            return


def _read_call(sink: Sink, bare: Collection[str]) -> Steps[None]:
    members: dict[str, Any] = {}
    yield from _read_members(sink, bare, members)
    if "name" not in members or (bare and "arguments" not in members):
        raise Broken
    if "arguments" not in members:
        sink.piece("{}")
    sink.done(members.get("arguments", {}))


def _read_members(sink: Sink, bare: Collection[str], members: dict[str, Any]) -> Steps[None]:
    """The members of a call; some models put them into a ``function`` of their own."""
    source = sink.source
    yield from source.need("{")
    while True:
        if (yield from source.space()) != '"':
            raise Broken
        key = yield from read_string(source, nowhere)
        yield from source.space()
        yield from source.need(":")
        first = yield from source.space()
        if key in ("name", "function") and first == '"':
            name = yield from read_string(source, nowhere)
            if "name" in members or (bare and name not in sink.tools):
                raise Broken
            members["name"] = name
            sink.name(name)
        elif key == "function" and first == "{" and not bare:
            yield from _read_members(sink, bare, members)
        elif key in (bare or _ARGUMENTS):
            if "arguments" in members:
                raise Broken
            members["arguments"] = yield from _read_arguments(sink, first)
        elif bare and key not in ("type", "id"):
            raise Broken
        else:
            yield from read_value(source, nowhere)
        if (yield from source.space()) != ",":
            yield from source.need("}")
            return
        source.at += 1


def _read_arguments(sink: Sink, first: str) -> Steps[dict[str, Any]]:
    """An object; a string that holds one, or null, as some models write them."""
    if first == "{":
        value = yield from read_value(sink.source, sink.piece)
    else:
        value = yield from read_value(sink.source, nowhere)
        if isinstance(value, str):
            value = parse_whole(value) if value.strip() else {}
        value = {} if value is None else value
        if isinstance(value, dict):
            sink.piece(json.dumps(value, ensure_ascii=False))
    if not isinstance(value, dict):
        raise Broken
    return value


def parse_whole(text: str) -> Any:
    """The JSON value that `text` is. Raises Broken if it is none."""
    source = Source()
    source.text, source.ended = text, True

    def read() -> Steps[Any]:
        yield from source.space()
        value = yield from read_value(source, nowhere)
        if (yield from source.space()):
            raise Broken
        return value

    try:
        next(read())
    except StopIteration as end:
        return end.value
    raise AssertionError("a text that has ended is never waited for")


def read_value(source: Source, emit: Emit, depth: int = 0) -> Steps[Any]:
    """A JSON value; `emit` gets it in pieces, which joined are ``json.dumps`` of it.

    Line breaks and the like may stand in strings as they are; a key may not come twice, and numbers
    must be finite. Raises Broken.
    """
    first = yield from source.look()
    if first == '"':
        return (yield from read_string(source, emit))
    if first == "{":
        return (yield from _read_object(source, emit, depth))
    if first == "[":
        return (yield from _read_array(source, emit, depth))
    if first in _WORDS and first:
        word, value = _WORDS[first]
        yield from source.need(word)
        emit(word)
        return value
    return (yield from _read_number(source, emit))


def _read_object(source: Source, emit: Emit, depth: int) -> Steps[dict[str, Any]]:
    if depth >= MAX_DEPTH:
        raise Broken
    result: dict[str, Any] = {}
    source.at += 1
    emit("{")
    if (yield from source.space()) == "}":
        source.at += 1
        emit("}")
        return result
    while True:
        if (yield from source.space()) != '"':
            raise Broken
        key = yield from read_string(source, emit)
        if key in result and depth == 0:  # deeper in, the last one counts, as in all of JSON
            raise Broken
        yield from source.space()
        yield from source.need(":")
        emit(": ")
        yield from source.space()
        result[key] = yield from read_value(source, emit, depth + 1)
        if (yield from source.space()) != ",":
            yield from source.need("}")
            emit("}")
            return result
        source.at += 1
        emit(", ")


def _read_array(source: Source, emit: Emit, depth: int) -> Steps[list[Any]]:
    if depth >= MAX_DEPTH:
        raise Broken
    result: list[Any] = []
    source.at += 1
    emit("[")
    if (yield from source.space()) == "]":
        source.at += 1
        emit("]")
        return result
    while True:
        yield from source.space()
        result.append((yield from read_value(source, emit, depth + 1)))
        if (yield from source.space()) != ",":
            yield from source.need("]")
            emit("]")
            return result
        source.at += 1
        emit(", ")


def _read_number(source: Source, emit: Emit) -> Steps[int | float]:
    begin = source.at
    while (character := (yield from source.look())) and character in "+-.eE0123456789":
        source.at += 1
    value = number(source.text[begin : source.at])
    emit(json.dumps(value))
    return value


def number(text: str) -> int | float:
    """The number that a JSON text is. Raises Broken if it is none, or is not finite."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise Broken
    try:
        value = float(text) if found[2] or found[3] else int(text)
    except ValueError:  # more digits than Python reads
        raise Broken from None
    if not math.isfinite(value):
        raise Broken
    return value


def read_string(source: Source, emit: Emit) -> Steps[str]:
    """A string between double quotes, the first of which is next. Raises Broken."""
    pieces: list[str] = []

    def add(text: str) -> None:
        pieces.append(text)
        emit(json.dumps(text, ensure_ascii=False)[1:-1])

    yield from source.need('"')
    emit('"')
    while True:
        plain = _PLAIN.match(source.text, source.at)
        if plain is not None:
            source.at = plain.end()
            add(clean_text(plain[0]))
        character = yield from source.look()
        if character == "":
            raise Broken
        if character == '"':
            source.at += 1
            emit('"')
            return "".join(pieces)
        if character == "\\":
            add((yield from _read_escape(source)))


def _read_escape(source: Source) -> Steps[str]:
    source.at += 1
    sign = yield from source.look()
    if sign != "u":
        if sign not in _ESCAPES:
            raise Broken
        source.at += 1
        return _ESCAPES[sign]
    first = yield from _read_unit(source, 0)
    source.at += 5
    if 0xD800 <= first < 0xDC00 and (yield from _next_is_unit(source)):
        second = yield from _read_unit(source, 1)
        if 0xDC00 <= second < 0xE000:
            source.at += 6
            return chr(0x10000 + ((first - 0xD800) << 10) + second - 0xDC00)
    return "\ufffd" if 0xD800 <= first < 0xE000 else chr(first)


def _next_is_unit(source: Source) -> Steps[bool]:
    return (yield from source.look()) == "\\" and (yield from source.look(1)) == "u"


def _read_unit(source: Source, offset: int) -> Steps[int]:
    """The four hexadecimal digits behind the ``u`` that is so far ahead, which stay unread."""
    digits = ""
    for place in range(1, 5):
        digits += yield from source.look(offset + place)
    if re.fullmatch(r"[0-9a-fA-F]{4}", digits) is None:
        raise Broken
    return int(digits, 16)
