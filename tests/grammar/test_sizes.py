"""What is too large for the compiler is refused before it takes the memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from cactus.chat.calls.syntax import SYNTAXES
from cactus.errors import InvalidRequest
from cactus.grammar.calls import grammar_of_calls
from cactus.grammar.formats import MAX_CHOICES, response_format
from cactus.grammar.schema import grammar_of
from cactus.grammar.sizes import check_expression, size_of
from tests.background import ROOT
from tests.grammar.vocabulary import by_schema, grammars, reads

pytestmark = [pytest.mark.fault("F38"), pytest.mark.timeout(120)]


def of(kind: str, text: str) -> Any:
    return {"type": kind, kind: text}


def all_of(patterns: Any) -> dict[str, Any]:
    return {"allOf": [{"type": "string", "pattern": pattern} for pattern in patterns]}


PAIRS = [[f"{a}{b}" for b in "abcdefghijklmnop"] for a in "abcdefgh"]

HOSTILE = {
    "repetitions": of("regex", "(a{1000}b){5000}"),
    "one repetition": of("regex", "a{523252}"),
    "classes": of("regex", r"\W" * 9000),
    "alternatives": of("regex", "|".join(f"w{n}" for n in range(90_000))),
    "parts to leave out": of("regex", "a*?" * 21_845),
    "terminals to leave out": of(
        "lark",
        "start: T0\n" + "".join(f"T{n}: T{n + 1} T{n + 1}\n" for n in range(14)) + "T14: /a*b?/",
    ),
    "expressions at once": of(
        "lark", "start: T\nT: " + " & ".join(f"/(?s:.*)a{n}(?s:.*)/" for n in range(100))
    ),
    "patterns at once": {"allOf": [all_of(each) for each in PAIRS]},
    "patterns of references": {
        "$ref": "#/$defs/0",
        "$defs": {
            str(n): {**all_of(PAIRS[n]), "$ref": f"#/$defs/{n + 1}"} if n < 8 else {"minLength": 1}
            for n in range(9)
        },
    },
    "names": {"const": {f"k{n}": n for n in range(60_000)}},
    "required names": {"type": "object", "required": [f"q{n}" for n in range(60_000)]},
    "nested references": {
        "$ref": "#/$defs/0",
        "$defs": {str(n): {"items": {"$ref": f"#/$defs/{n + 1}"}} for n in range(9000)}
        | {"9000": {}},
    },
    "nested rules": of(
        "lark", "start: a0\n" + "".join(f"a{n}: a{n + 1}\n" for n in range(5000)) + "a5000: "
    ),
    "schema in a grammar": of("lark", 'start: %json {"type": "integer", "multipleOf": 16777217}'),
    "white space": {"type": "object", "x-guidance": {"item_separator": "a*?" * 21_845}},
    "texts": [f"w{n}" for n in range(90_000)],
}  # fmt: skip

MEASURE = """
import json, resource, sys
from cactus.errors import InvalidRequest
from cactus.grammar.formats import response_format
from cactus.grammar.schema import grammar_of
from cactus.grammar.underway import UNDERWAY
from tests.grammar.vocabulary import by_schema, grammars

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

forms, found = json.load(sys.stdin), grammars()
by_schema({"type": "object", "additionalProperties": {"pattern": "a"}}, found=found)
before = peak()
for form in forms:
    try:
        grammar_of(response_format("form", form), found)
    except InvalidRequest:
        pass
    UNDERWAY.settle()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss")
def test_nothing_that_is_compiled_takes_much_memory_or_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=json.dumps(list(HOSTILE.values())),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 128


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("repetitions", "form.regex: what it describes is too large .* more than 200,000 steps"),
        ("classes", r"form.regex: the expression .* has more than 65,536 characters"),
        ("alternatives", r"form.regex: .* has more than 65,536 characters"),
        ("parts to leave out", "form.regex: 43,690 parts .* may be left out .* at most 512 may"),
        ("terminals to leave out", r"form.lark: T\d: .* may be left out"),
        ("expressions at once", "form.lark: T: .* too many expressions at once .* 65,536 ways"),
        ("patterns at once", "form: a text has to match too many expressions at once"),
        ("patterns of references", "form: a text has to match too many expressions at once"),
        ("names", "form.const: .* of 60,000 members; at most 10,000"),
        ("required names", "form.required: 60000 members; at most 500"),
        ("nested references", r"form: .* 9001 references \(\$ref\) .* levels deep.* at most 2,000"),
        ("nested rules", "form.lark: .* 5,002 rules and brackets; at most 3,000"),
        ("schema in a grammar", "form.lark: %json 1.multipleOf: 16777217 makes too many"),
        ("white space", "form.x-guidance: 43,690 parts"),
        ("texts", "form: 90000 texts to choose from; at most 20000"),
    ],
)
def test_the_place_that_is_too_large_is_named_with_its_limit(form: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=f"(?s){message}"):
        grammar_of(response_format("form", HOSTILE[form]), grammars())


RANGES = {
    "type": "object",
    "properties": {
        f"p{n}": {"type": "number", "minimum": n * 1.37, "maximum": 10**15 + n * 1.1}
        for n in range(500)
    },
}


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_whose_parts_are_too_large_together_is_refused(strict: bool) -> None:
    with pytest.raises(
        InvalidRequest, match=r"^schema: what it describes is too large .* 200,000 "
    ):
        by_schema(RANGES, strict=strict)


def test_parameters_that_are_too_large_are_left_out_of_calls_or_refused() -> None:
    syntax = next(each for each in SYNTAXES if each.form == SYNTAXES[0].form)
    function = {"name": "f", "parameters": {"properties": {"a": RANGES}}}
    grammar = grammar_of_calls([{"type": "function", "function": function}], syntax, grammars())
    (left_out,) = grammar.source.unenforced
    assert "parameters: what it describes is too large" in left_out
    strict = {"type": "function", "function": {**function, "strict": True}}
    with pytest.raises(InvalidRequest, match="parameters: what it describes is too large"):
        grammar_of_calls([strict], syntax, grammars())


LABELS = [f"the label number {n}" for n in range(10_000)]


@pytest.mark.parametrize(
    "form",
    [
        {"type": "string", "maxLength": 10_000},
        {"type": "string", "pattern": "^[a-z]{1,1000}$", "minLength": 5},
        {"type": "array", "items": {"type": "string"}, "minItems": 1000, "maxItems": 10_000},
        {"enum": LABELS},
        LABELS,
        {
            "type": "object",
            "properties": {
                f"p{n}": {"type": "string", "pattern": rf"^[a-z]{{1,{n + 1}}}@\w+\.[a-z]{{2,9}}$"}
                for n in range(500)
            },
        },
        {"type": "object", "patternProperties": {f"^[{a}][a-z]*_id$": {} for a in "abcdefgh"}},
        {"type": "string", "allOf": [{"pattern": "^[a-z]"}, {"pattern": "9$"}, {"maxLength": 9}]},
        of("regex", "|".join(f"word{n * 7919 % 100_000}" for n in range(5000))),
        of("regex", "[0-9]{1,10000}"),
        of("regex", r"\w+(?: \w+){0,999}"),
        of("regex", "(?:[0-9]{3}-){1000}"),
        of("lark", "start: " + " | ".join(f'"word{n}"' for n in range(1500))),
        of("lark", "start: T\nT: W (/[ ,]/ W){0,99} & /.{3,900}/ & ~/(?s:.*)END(?s:.*)/\nW: /a+/"),
        {
            "$ref": "#/$defs/0",
            "$defs": {
                str(n): {"anyOf": [{"type": "array", "items": {"$ref": f"#/$defs/{n + 1}"}}, {}]}
                for n in range(490)
            } | {"490": {}},
        },
    ],
    ids=lambda form: str(form)[:40],
)  # fmt: skip
def test_what_people_ask_for_is_compiled(form: Any) -> None:
    grammar = grammar_of(response_format("form", form), grammars())
    matcher = grammar.start()
    for _ in range(9):
        allowed = np.unpackbits(
            np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little"
        )
        if not allowed.any():
            break
        assert matcher.consume_token(int(allowed.argmax())), matcher.get_error()
    assert not matcher.is_error(), matcher.get_error()


def test_a_schema_of_a_tree_and_one_that_extends_another_are_enforced() -> None:
    node = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    grammar = by_schema({"$ref": "#/$defs/node", "$defs": {"node": node}})
    assert reads(grammar, '{"name": "a", "parts": [{"name": "b"}]}')
    assert not reads(grammar, '{"name": "a", "parts": [{"name": "B"}]}')
    named = {"$defs": {"a": {"$anchor": "x", "type": "string", "pattern": "^a"}}, "$ref": "#x"}
    assert reads(by_schema({**named, "pattern": "b$"}), '"ab"')


@pytest.mark.parametrize(
    ("expression", "characters", "optional", "classes"),
    [
        ("abc", 3, 0, 0),
        (r"\w\.[.*?]+", 30, 0, 2),
        (r"(?:a|b)(?i:c)\*", 15, 0, 0),
        ("a?b*(c|)(|d)(e||f)g{0,3}h{,2}(i|j)", 34, 7, 0),
        (r"\p{L}[\]a-z].", 33, 0, 3),
    ],
)
def test_the_size_of_an_expression_is_seen_in_its_text(
    expression: str, characters: int, optional: int, classes: int
) -> None:
    size = size_of(expression)
    assert (size.characters, size.optional, len(size.classes)) == (characters, optional, classes)
    assert check_expression(expression, "here") == size


def test_so_many_choices_are_compiled_as_are_allowed() -> None:
    form = response_format("form", [f"w{n}" for n in range(MAX_CHOICES)])
    assert form is not None
    assert reads(grammar_of(form, grammars()), f"w{MAX_CHOICES - 1}")
