"""Grammars: JSON schemas, regular expressions, Lark, choices, and calls of tools.

Schemas are put together of keywords with right and wrong values, and changed. What compiles is
walked: tokens that the mask allows are chosen at random until the answer ends. It must end, every
token must be allowed, and JSON must fit its schema, by another validator, as far as it is enforced.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from cactus.chat.calls.syntax import SYNTAXES
from cactus.chat.tools import validate_tools
from cactus.errors import InsufficientMemory, InvalidRequest, Overloaded
from cactus.grammar import compile
from cactus.grammar.calls import grammar_of_calls
from cactus.grammar.compile import Grammar
from cactus.grammar.formats import response_format
from cactus.grammar.guide import Guide
from cactus.grammar.schema import grammar_of
from fuzzers.base import Case, Fuzzer, change_json, change_words
from tests.chat.calls.reading import TOOLS, comes_to, found_in
from tests.grammar.vocabulary import END, grammars

LIMIT = 200
"""Tokens of an answer."""

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
EXPRESSIONS = (
    *("[a-z]{2,5}", "a|b", "(ab)+c?", r"\d{1,3}\.\d", '[^"]*', "é+", r"\w+@\w+\.de", "^a.*b$"),
    *(
        "(a+)+$",
        "(a{1000}b){5000}",
        "a{523252}",
        "(a?b*){900}",
        r"\p{L}{2}",
        "x{0,300}",
        "[",
        "(",
        "a{5,2}",
        "(?=x)y",
        r"(a)\1",
        "",
        "[a-",
        "\\",
        "(?i)ab",
    ),
)
FORMATS = ("date", "time", "date-time", "email", "uuid", "ipv4", "ipv6", "uri", "hostname", "zz")
LARK = (
    'start: "a" | "b"', 'start: x+\nx: "1".."9"', "start: /[a-z]+/ end\nend: \".\"", "start: start",
    'start: (a | b)*\na: "x"\nb: "y" a', 'start: "a"{2,4}', "start: missing", "start", ": x", "",
    "start: T\nT: /.*a.*/ & /.*b.*/ & U & ~/c+/\nU: /.*d.*/ | U2 U2\nU2: /e?/ /f*/",
    '%ignore " "\nstart: WORD\nWORD: /[a-z]+/', 'start: %json {"type": "integer"}',
)  # fmt: skip


def schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema."""
    kind = rng.choice(TYPES if depth < 3 else TYPES[2:])
    made: dict[str, Any] = {"type": kind}
    if kind == "object":
        names = rng.sample(("a", "b", "name", "é", "x y", '"', ""), rng.randrange(4))
        made["properties"] = {name: schema(rng, depth + 1) for name in names}
        made["required"] = [name for name in names if rng.random() < 0.6]
        if rng.random() < 0.6:
            made["additionalProperties"] = rng.choice((False, True, {"type": "integer"}))
    elif kind == "array":
        made["items"] = schema(rng, depth + 1)
        if rng.random() < 0.2:
            made["prefixItems"] = [schema(rng, depth + 1)]
        made["maxItems"] = rng.choice((0, 1, 2, 5))
        if rng.random() < 0.4:
            made["minItems"] = rng.choice((0, 1, 2, 9))
    elif kind == "string":
        action = rng.randrange(5)
        if action == 0:
            made["pattern"] = rng.choice(EXPRESSIONS)
        elif action == 1:
            made["format"] = rng.choice(FORMATS)
        elif action == 2:
            made |= {"minLength": rng.choice((0, 1, 3)), "maxLength": rng.choice((0, 2, 8))}
        elif action == 3:
            made = {"enum": rng.sample(("a", "é", "", "long text", '"', 1, None), 3)}
    elif kind in ("integer", "number"):
        numbers = (-1e9, -3, -1, 0, 1, 2.5, 7, 10, 99, 1e9)
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if rng.random() < 0.25:
                made[key] = rng.choice(numbers)
        if rng.random() < 0.1:
            made["multipleOf"] = rng.choice((2, 3, 0.5, 10))
    if rng.random() < 0.1 and depth < 3:
        key = rng.choice(("anyOf", "oneOf", "allOf"))
        return {key: [made, schema(rng, depth + 1)]}
    if rng.random() < 0.05:
        return {"const": rng.choice(("a", 1, None, [1, {"a": 2}], {"x": "é"}))}
    if depth == 0 and rng.random() < 0.15:
        made["$defs"] = {"t": schema(rng, 2)}
        made.setdefault("properties", {})["r"] = {"$ref": rng.choice(("#/$defs/t", "#", "#/none"))}
    return made


WRONG: list[Any] = [None, True, False, [], {}, "", "a", -1, 0, 1, 2.5, 10**9, [1, "a"], [{}],
                    {"type": "x"}, {"$ref": "#"}, {"not": {}}, "string", "object", {"a": {}},
                    2**70, ["string", "null"]]  # fmt: skip


class Fuzz(Fuzzer):
    """Grammars."""

    errors = (InvalidRequest, Overloaded, InsufficientMemory)
    cpu_seconds = 6.0

    def __init__(self, scratch: Path) -> None:
        compile.KEPT_BYTES = 4 << 20  # so that what is kept is soon as much as it may be
        markup = sorted({mark for each in SYNTAXES for mark in each.markers})
        self.grammars = grammars(["true", "false", "null", '{"', '":', "ing", "12", "  "], markup)
        self.rows = self.grammars.table.words * 32

    def make(self, rng: random.Random) -> Case:
        """A form of an answer, or tools."""
        kind = rng.choice(("json", "json", "json", "strict", "regex", "lark", "choice", "calls"))
        value: Any
        if kind in ("json", "strict"):
            value = schema(rng)
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                value = change_json(rng, value, WRONG)
            if kind == "strict":
                value = {"type": "json_schema", "json_schema": {"schema": value, "strict": True}}
        elif kind == "regex":
            words = [rng.choice(EXPRESSIONS) for _ in range(rng.choice((1, 1, 2, 3)))]
            text = rng.choice(("", "|", "(.)?")).join(words)
            value = {
                "type": "regex",
                "regex": change_words(rng, text) if rng.random() < 0.4 else text,
            }
        elif kind == "lark":
            text = rng.choice(LARK)
            value = {
                "type": "lark",
                "lark": change_words(rng, text) if rng.random() < 0.6 else text,
            }
        elif kind == "choice":
            value = [rng.choice(("a", "ab", "b", "é", '"', "\n", "\\", "x" * 99)) for _ in range(3)]
            value = value if rng.random() < 0.8 else change_json(rng, value)
        else:
            parameters = schema(rng)
            if rng.random() < 0.3:
                parameters = change_json(rng, parameters, WRONG)
            function = {"name": "get_weather", "parameters": parameters}
            tools = [{"type": "function", "function": function}]
            value = {"syntax": rng.choice(SYNTAXES).name, "tools": tools}
        return Case(kind, json.dumps(value).encode())

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """Its JSON changed."""
        return Case(case.kind, json.dumps(change_json(rng, json.loads(case.data), WRONG)).encode())

    def run(self, case: Case) -> None:
        """Compile it, walk it and look at the answer."""
        value, rng = json.loads(case.data), case.chance()
        if case.kind == "calls":
            self._calls(value, rng)
            return
        form = response_format("response_format", value)
        if form is None:
            return
        grammar = grammar_of(form, self.grammars)
        answer, why = walk(grammar, rng, self.rows)
        if form.kind == "json" and why is not None and not grammar.source.unenforced:
            found = json.loads(answer)
            validator = jsonschema.Draft202012Validator
            try:
                validator.check_schema(form.definition)
                validator(form.definition).validate(found)
            except (jsonschema.SchemaError, re.error, RecursionError):
                return  # of another draft, in terms of another language, or without an end
            except jsonschema.ValidationError as error:
                raise AssertionError(f"{answer!r} does not fit: {error.message}") from None
        if form.kind == "choice" and why == "stop":
            assert answer.decode() in form.definition, answer

    def _calls(self, value: Any, rng: random.Random) -> None:
        if not isinstance(value, dict) or not isinstance(value.get("tools"), list):
            return
        syntax = next((each for each in SYNTAXES if each.name == value.get("syntax")), None)
        if syntax is None or not value["tools"]:
            return
        tools = validate_tools(value["tools"])
        grammar = grammar_of_calls(tools, syntax, self.grammars)
        answer, why = walk(grammar, rng, self.rows)
        if why == "stop":
            names = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
            text = answer.decode()
            _, calls = comes_to(found_in(syntax, [text], {**TOOLS, **names}))
            assert calls, f"no call is found in {text!r}"


def walk(grammar: Grammar, rng: random.Random, rows: int) -> tuple[bytes, str | None]:
    """An answer of tokens that may follow each other, and why it ends."""
    guide = Guide(grammar, "never", LIMIT)
    tokens: list[int] = []
    table = grammar.table
    while len(tokens) < LIMIT:
        why = guide.ended(tokens)
        if why is not None:
            return spelled(grammar, tokens), why
        forced = guide.forced(tokens)
        if forced:
            tokens += list(forced)[: LIMIT - len(tokens)]
            continue
        masks, _ = guide.masks(tokens, [])
        allowed = np.flatnonzero(np.unpackbits(masks[0].view(np.uint8), bitorder="little"))
        assert len(allowed), f"nothing may follow {spelled(grammar, tokens)!r}"
        assert allowed[-1] < table.words * 32
        ends = [int(token) for token in allowed if token in table.ends]
        if ends and rng.random() < 0.5:
            tokens.append(ends[0])
            continue
        tokens.append(int(rng.choice(list(allowed))))
    return spelled(grammar, tokens), guide.ended(tokens)


def spelled(grammar: Grammar, tokens: list[int]) -> bytes:
    """The bytes of an answer."""
    return b"".join(grammar.table.bytes[token] for token in tokens if token != END)
