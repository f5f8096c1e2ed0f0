"""FunctionGemma's calls: ``call:f{k:<escape>text<escape>,n:5,o:{a:[1,2]}}``."""

from __future__ import annotations

import json
from typing import Any

from cactus.chat.calls.sink import MAX_DEPTH, Sink
from cactus.chat.calls.source import Broken, Source, Steps
from cactus.chat.calls.syntax import ESCAPE
from cactus.chat.calls.types import parameter, value_of


def read_escaped(sink: Sink) -> Steps[None]:
    """One call, with all that its braces hold. Raises Broken."""
    source = sink.source
    yield from source.space()
    yield from source.need("call:")
    name = (yield from source.run("{<}\n")).strip()
    yield from source.need("{")
    if not name:
        raise Broken
    sink.name(name)
    tool = sink.tools.get(name, {})
    arguments: dict[str, Any] = {}
    while (yield from source.space()) != "}":
        key = yield from _read_key(source)
        if key in arguments:
            raise Broken
        arguments[key] = yield from _read_value(source, parameter(tool, key), tool, 0)
        sink.piece(", " if len(arguments) > 1 else "{")
        sink.piece(json.dumps({key: arguments[key]}, ensure_ascii=False)[1:-1])
        if (yield from source.space()) != "}":
            yield from source.need(",")
    source.at += 1
    sink.piece("}" if arguments else "{}")
    sink.done(arguments)


def _read_key(source: Source) -> Steps[str]:
    if (yield from source.skip(ESCAPE)):
        key = yield from source.until(ESCAPE)
    else:
        key = (yield from source.run(":,{}[]<")).strip()
        if not key:
            raise Broken
    yield from source.space()
    yield from source.need(":")
    yield from source.space()
    return key


def _read_value(source: Source, schema: Any, tool: Any, depth: int) -> Steps[Any]:
    """A value; a word without ``<escape>`` is a string if the schema says so or nothing fits."""
    if (yield from source.look()) == "<" and (yield from source.skip(ESCAPE)):
        return (yield from source.until(ESCAPE))
    first = yield from source.look()
    if first in ("{", "[") and depth >= MAX_DEPTH:
        raise Broken
    if first == "{":
        return (yield from _read_object(source, schema, tool, depth))
    if first == "[":
        return (yield from _read_array(source, schema, tool, depth))
    word = (yield from source.run(",{}[]<")).strip()
    if not word:
        raise Broken
    return value_of(word, schema, tool)


def _read_object(source: Source, schema: Any, tool: Any, depth: int) -> Steps[dict[str, Any]]:
    source.at += 1
    result: dict[str, Any] = {}
    while (yield from source.space()) != "}":
        key = yield from _read_key(source)
        inner = parameter(schema, key) if isinstance(schema, dict) else None
        result[key] = yield from _read_value(source, inner, tool, depth + 1)
        if (yield from source.space()) != "}":
            yield from source.need(",")
    source.at += 1
    return result


def _read_array(source: Source, schema: Any, tool: Any, depth: int) -> Steps[list[Any]]:
    source.at += 1
    result: list[Any] = []
    inner = schema.get("items") if isinstance(schema, dict) else None
    while (yield from source.space()) != "]":
        result.append((yield from _read_value(source, inner, tool, depth + 1)))
        if (yield from source.space()) != "]":
            yield from source.need(",")
    source.at += 1
    return result
