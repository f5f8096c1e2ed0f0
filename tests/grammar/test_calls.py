"""Forced calls in every family's form: whatever is chosen at random, they parse and fit."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from cactus.chat.calls.parser import CallParser
from cactus.chat.calls.syntax import SYNTAXES, Syntax
from cactus.chat.tools import validate_tools
from cactus.errors import InvalidRequest
from cactus.grammar.calls import grammar_of_calls
from cactus.grammar.compile import Grammar
from cactus.grammar.guide import Guide
from tests.grammar.vocabulary import END, grammars, reads

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from forced_tools import TOOLS

WORDS = ['": "', '", "', '{"', "name", "th", "},", "12", '"}', "='", "</", "<esc", "e>"]


def grammar(
    syntax: Syntax, tools: Sequence[Any], *, spelled: bool = False, **options: Any
) -> Grammar:
    """`spelled`: the vocabulary has no tokens for the markup."""
    found = grammars(WORDS, () if spelled else syntax.markers)
    return grammar_of_calls(validate_tools(list(tools)), syntax, found, **options)


def noise(found: Grammar, seed: int, limit: int = 300) -> tuple[str, str]:
    """An answer of tokens that are chosen at random, and why it ended."""
    guide, dice, tokens = Guide(found, "never", limit), random.Random(seed), list[int]()
    while len(tokens) < limit:
        mask = guide.masks(tokens, [])[0][0]
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
        token = int(dice.choice(np.flatnonzero(bits)))
        if token == END:
            return spelled(found, tokens), "stop"
        tokens.append(token)
        reason = guide.ended(tokens)
        if reason is not None:
            return spelled(found, tokens), reason
    return spelled(found, tokens), "cut"


def spelled(found: Grammar, tokens: Sequence[int]) -> str:
    return b"".join(found.table.bytes[token] for token in tokens).decode()


def calls_in(text: str, syntax: Syntax, tools: Sequence[Any]) -> list[tuple[str, Any]]:
    """The calls of an answer, in which nothing else may stand."""
    parser = CallParser(syntax, {tool["name"]: tool.get("parameters", {}) for tool in tools})
    calls, name = [], ""
    for found in [*parser.push(text), *parser.flush()]:
        assert found.kind in ("begin", "piece", "end"), (found, text)
        name = found.text if found.kind == "begin" else name
        if found.kind == "end":
            calls.append((name, found.arguments))
    return calls


def problems(calls: Sequence[tuple[str, Any]], tools: Sequence[Any]) -> list[str]:
    schemas = {tool["name"]: tool["parameters"] for tool in tools}
    return [
        error.message
        for name, arguments in calls
        for error in Draft202012Validator(
            schemas[name], format_checker=Draft202012Validator.FORMAT_CHECKER
        ).iter_errors(arguments)
    ]


@pytest.mark.parametrize("spelled", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_noise_becomes_calls_that_fit_their_schemas(syntax: Syntax, spelled: bool) -> None:
    for n in range(int(spelled), len(TOOLS) - 1, 2):
        tools = TOOLS[n : n + 2]
        found = grammar(syntax, tools, spelled=spelled)
        for seed in range(2):
            text, reason = noise(found, seed)
            assert reason != "cut", text
            calls = calls_in(text, syntax, tools)
            assert calls
            assert found.source.unenforced == ()
            assert problems(calls, tools) == [], text


TOOL_CALL, GEMMA = SYNTAXES[0], SYNTAXES[-1]
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer", "maximum": 9}},
        "required": ["place"],
    },
}


def test_a_call_is_written_as_the_family_writes_it() -> None:
    for syntax in SYNTAXES:
        found = grammar(syntax, [WEATHER], spelled=True)
        one = {"name": "get_weather", "arguments": {"place": "Bonn", "days": 5}}
        other = {"name": "get_weather", "arguments": {"place": "Köln"}}
        assert reads(found, str(syntax.write([one]))), syntax.name
        assert reads(found, str(syntax.write([one, other]))), syntax.name
        alone = grammar(syntax, [WEATHER], spelled=True, parallel=False)
        assert reads(alone, str(syntax.write([other]))), syntax.name
        assert not reads(alone, str(syntax.write([one, other]))), syntax.name


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_arguments_are_an_object_where_their_schema_does_not_say_so(syntax: Syntax) -> None:
    nothing_fits = {"allOf": [{"type": "null"}, {"type": "object"}]}
    for parameters in ({}, {"anyOf": [{"type": "number"}, {"type": "object"}]}, nothing_fits):
        tools = [{"name": "now", "parameters": parameters}]
        for seed in range(5):
            text, reason = noise(grammar(syntax, tools), seed)
            assert reason != "cut" and calls_in(text, syntax, tools), text


def test_space_behind_a_call_does_not_ask_for_another_one() -> None:
    call = str(TOOL_CALL.write([{"name": "get_weather", "arguments": {"place": "Bonn"}}]))
    found = grammar(TOOL_CALL, [WEATHER], spelled=True)
    assert reads(found, call) and reads(found, f"{call}\n") and reads(found, f"{call}\n{call}")
    assert not reads(found, f"{call}\n\n") and not reads(found, f"{call} ")


def test_only_declared_names_and_properties_can_be_said() -> None:
    found = grammar(TOOL_CALL, [WEATHER], spelled=True)
    for call in (
        {"name": "get_time", "arguments": {"place": "Bonn"}},
        {"name": "get_weather", "arguments": {}},
        {"name": "get_weather", "arguments": {"place": "Bonn", "unit": "C"}},
        {"name": "get_weather", "arguments": {"place": "Bonn", "days": 10}},
    ):
        assert not reads(found, str(TOOL_CALL.write([call])))


def test_markup_is_said_with_its_tokens_and_stands_in_no_string() -> None:
    found = grammar(TOOL_CALL, [WEATHER])
    begin, end = (found.table.id_of(marker) for marker in TOOL_CALL.markers)
    matcher = found.start()
    assert matcher.compute_ff_tokens()[0] == begin
    before = TOOL_CALL.before_arguments("get_weather")
    matcher.consume_tokens([begin, *found.table.encode("\n" + before + '{"place": "Bonn')])
    assert not matcher.is_error() and matcher.validate_tokens([end]) == 0


UNIQUE = {"type": "object", "properties": {"ids": {"type": "array", "uniqueItems": True}}}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_what_cannot_be_enforced_is_noted_or_an_error(syntax: Syntax) -> None:
    tools = [WEATHER, {"name": "f", "parameters": UNIQUE}]
    found = grammar(syntax, tools)
    assert any(
        note.startswith("tools[1].parameters.properties.ids") for note in found.source.unenforced
    )
    with pytest.raises(InvalidRequest, match=r"tools\[1\].parameters.*uniqueItems"):
        grammar(syntax, [WEATHER, {"name": "f", "parameters": UNIQUE, "strict": True}])


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("name", ['"', "a=b", "", " x", "a<b", "é", "x y"])
def test_an_argument_with_any_name_is_read_again_or_left_out(syntax: Syntax, name: str) -> None:
    parameters = {"type": "object", "properties": {name: {"type": "null"}}, "required": [name]}
    tools = [{"name": "f", "parameters": parameters}]
    found = grammar(syntax, tools)
    text, reason = noise(found, 1)
    assert reason != "cut"
    expected = {name: None} if syntax.can_name(name) else {}
    assert calls_in(text, syntax, tools)[0] == ("f", expected), text
    assert bool(found.source.unenforced) is (not syntax.can_name(name))


def test_a_tool_that_no_grammar_can_be_made_of_is_named() -> None:
    many = {"type": "object", "properties": {f"p{n}": {} for n in range(501)}}
    with pytest.raises(InvalidRequest, match=r"tools\[0\].parameters.properties: 501 members"):
        grammar(TOOL_CALL, [{"name": "f", "parameters": many}])


def test_unicode_in_arguments_stays_what_it_is() -> None:
    said = 'naïve "quotes"\n東京 \\ \U0001f600'
    for syntax in SYNTAXES:
        found = grammar(syntax, [WEATHER], spelled=True)
        text = str(syntax.write([{"name": "get_weather", "arguments": {"place": said}}]))
        assert reads(found, text), syntax.name
        assert calls_in(text, syntax, [WEATHER]) == [("get_weather", {"place": said})]


def test_numbers_are_finite() -> None:
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}
    found = grammar(TOOL_CALL, [tool])
    for seed in range(10):
        for _, arguments in calls_in(noise(found, seed)[0], TOOL_CALL, [tool]):
            assert json.loads(json.dumps(arguments, allow_nan=False)) == arguments
