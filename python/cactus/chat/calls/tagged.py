"""Calls between tags: JSON, or ``<function=f>`` with a ``<parameter=k>`` for each argument."""

from __future__ import annotations

import json
from typing import Any

from cactus.chat.calls.json_calls import read_calls, read_value
from cactus.chat.calls.sink import Sink
from cactus.chat.calls.source import Broken, Source, Steps
from cactus.chat.calls.types import parameter, value_of

_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"


def read_tagged(sink: Sink) -> Steps[None]:
    """What stands behind an opening tag: calls in either form. Raises Broken."""
    if (yield from sink.source.space()) == "<":
        yield from read_function(sink)
    else:
        yield from read_calls(sink)


def read_function(sink: Sink) -> Steps[None]:
    """One call or several from ``<function=``; arguments may be one JSON object instead."""
    source = sink.source
    while True:
        yield from source.need(_FUNCTION)
        name = (yield from source.run(">\n<")).strip().strip("\"'")
        yield from source.need(">")
        sink.name(name)
        if (yield from source.space()) == "{":
            arguments = yield from read_value(source, sink.piece)
            yield from source.space()
            yield from source.need(_FUNCTION_END)
        else:
            arguments = yield from _read_parameters(sink, name)
        sink.done(arguments)
        begin = source.at
        yield from source.space()
        if not (yield from source.sees(_FUNCTION)):
            source.at = begin
            return


def _read_parameters(sink: Sink, name: str) -> Steps[dict[str, Any]]:
    source, tool = sink.source, sink.tools.get(name, {})
    arguments: dict[str, Any] = {}
    while True:
        yield from source.space()
        if (yield from source.skip(_FUNCTION_END)):
            break
        yield from source.need(_PARAMETER)
        key = (yield from source.run(">\n<")).strip().strip("\"'")
        yield from source.need(">")
        text = yield from _read_text(source)
        if key in arguments:
            raise Broken
        arguments[key] = value_of(text, parameter(tool, key), tool)
        sink.piece(", " if len(arguments) > 1 else "{")
        sink.piece(json.dumps({key: arguments[key]}, ensure_ascii=False)[1:-1])
    sink.piece("}" if arguments else "{}")
    return arguments


def _read_text(source: Source) -> Steps[str]:
    """The text of a parameter, which may hold end tags: one counts that markup follows."""
    begin = source.at
    while True:
        yield from source.until(_PARAMETER_END)
        text = source.text[begin : source.at - len(_PARAMETER_END)]
        after = source.at
        yield from source.space()
        for follower in (_PARAMETER, _FUNCTION_END):
            if (yield from source.sees(follower)):
                source.at = after
                return text.removeprefix("\n").removesuffix("\n")
        if (yield from source.look()) == "":
            raise Broken
        source.at = after
