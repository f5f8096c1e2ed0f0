"""The grammar of an answer that calls tools, in the form that a family of models writes calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cactus.chat.calls.syntax import ESCAPE, Syntax
from cactus.errors import InvalidRequest
from cactus.grammar.arguments import END_OF_PARAMETER, Arguments
from cactus.grammar.compile import Grammar, Grammars, Source
from cactus.grammar.formats import Format
from cactus.grammar.lark import Lark
from cactus.grammar.limits import check_size
from cactus.grammar.schema import names_in, parts_of

MOST_CALLS = 16
"""Calls in one answer."""

Tool = Mapping[str, Any]
"""A definition in OpenAI's form, checked."""


def grammar_of_calls(
    tools: Sequence[Tool],
    syntax: Syntax,
    grammars: Grammars,
    *,
    parallel: bool = True,
    instead: Format | None = None,
) -> Grammar:
    """The grammar of one call of one of `tools`, or with `parallel` of several, and nothing else.

    `instead`: or of an answer of JSON in this form.

    What of a tool's schema cannot be enforced is left out and noted in the grammar's source; for a
    tool that says ``"strict": true`` it is an InvalidRequest.
    """
    for index, tool in enumerate(tools):
        check_size(tool["function"]["parameters"], f"tools[{index}].parameters")
    lark = Lark(grammars.table, syntax)
    strict = [
        f"tools[{index}].parameters"
        for index, tool in enumerate(tools)
        if tool["function"].get("strict") is True
    ]
    if instead is not None:
        check_size(instead.definition, instead.where)
        strict += [instead.where] if instead.strict else []
    try:
        return grammars.compile(_source(lark, tools, parallel, strict, instead))
    except InvalidRequest as error:
        if not lark.relax(strict):
            raise InvalidRequest(f"tools: {error}") from None
    return grammars.compile(_source(lark, tools, parallel, strict, instead))


def _source(
    lark: Lark,
    tools: Sequence[Tool],
    parallel: bool,
    strict: Sequence[str],
    instead: Format | None,
) -> Source:
    lark.clear()
    syntax, arguments = lark.syntax, Arguments(lark)
    calls: list[str] = []
    for index, tool in enumerate(tools):
        function = tool["function"]
        inside = arguments.of(function["parameters"], f"tools[{index}].parameters")
        begin = lark.text(syntax.before_arguments(function["name"]))
        calls.append(lark.rule(f"{begin} {inside} {lark.text(syntax.after_arguments)}"))
    for note in lark.unenforced:
        if any(note.startswith(path) for path in strict):
            raise InvalidRequest(note)
    call = lark.rule(" | ".join(calls))
    begin, end, between = map(lark.text, (syntax.begin, syntax.end, syntax.between))
    if syntax.space_between:
        # A model that has put the space before another call may still see that there is none.
        space = lark.text(syntax.space_between)
        between, end = f"{end} {space} {begin}", f"{end} {space}?" if parallel else end
    more = f"({between} {call}){{0,{MOST_CALLS - 1}}}" if parallel else ""
    start = f"{begin} {call} {more} {end}"
    if instead is not None:
        start += f" | {lark.json(instead.definition, instead.where, spaced=True)}"
    text = lark.written(start)
    ends = {"parameters": END_OF_PARAMETER, "escaped": ESCAPE}
    inner = ends.get(syntax.form)
    closers = () if inner is None or lark.is_markup(inner) else (inner,)
    functions = [tool["function"] for tool in tools]
    parts = tuple(part for each in functions for part in parts_of(each["parameters"]))
    if instead is not None:
        parts += parts_of(instead.definition)
    wholes = tuple(_shortest(syntax, each) for each in functions) if parallel else ()
    return Source(text, "tools", True, parts, closers, wholes, tuple(lark.unenforced))


def _shortest(syntax: Syntax, function: Mapping[str, Any]) -> str:
    """A call with all names of its tool, as long as one at least is."""
    return syntax.between + syntax.call(function["name"], names_in(function["parameters"]))
