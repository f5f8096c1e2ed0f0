"""What of JSON Schema is enforced, and what becomes of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cactus.errors import InvalidRequest
from cactus.grammar import compile
from cactus.grammar.formats import response_format
from cactus.grammar.result import read
from cactus.grammar.schema import grammar_of
from cactus.types import Structure
from tests.grammar.vocabulary import by_schema, grammars, reads, written

OBJECT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "fitting", "others"),
    [
        (OBJECT, [{"name": "é"}, {"name": "", "age": 5}], [{}, {"name": "a", "age": -1}, {"b": 1}]),
        ({"enum": ["ü", 2, None, [1]]}, ["ü", 2, None, [1]], ["u", 3, False]),
        ({"type": "string", "pattern": "^[A-Z]{2}$"}, ["AB"], ["A", "ABC", "ab"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["aé", "abc"], ["a", "abcd"]),
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 2}, [1, 1.5], [0, 2, -1.5]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, [[], [1, 2]], [[1, 2, 3]]),
        (
            {
                "$ref": "#/$defs/t",
                "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
            },
            [[], [[], [[]]]],
            [[1], {}],
        ),
        ({"type": "string", "format": "date"}, ["2024-02-28"], ["2024-13-01", "today"]),
    ],
)
def test_a_schema_is_enforced(schema: Any, fitting: list[Any], others: list[Any]) -> None:
    grammar = by_schema(schema)
    assert [reads(grammar, written(value)) for value in fitting] == [True] * len(fitting)
    assert [reads(grammar, written(value)) for value in others] == [False] * len(others)


@pytest.mark.parametrize("blanks", [1, 40])
def test_white_space_may_stand_between_parts_but_not_for_ever(blanks: int) -> None:
    grammar = by_schema(OBJECT)
    assert reads(grammar, "{" + " " * blanks + '"name":\n"a"}')
    assert not reads(grammar, "{" + " " * 41 + '"name": "a"}')


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"not": {}}, r"schema.not: 'not' cannot be enforced"),
        (
            {"properties": {"a": {"items": {"uniqueItems": True}}}},
            r"schema.properties.a.items.uniqueItems: 'uniqueItems' cannot be enforced",
        ),
        ({"type": "string", "format": "zz"}, r"schema.format: the format 'zz' is not known"),
        (
            {"items": {"oneOf": [{"minimum": 1}, {"maximum": 5}]}},
            r"schema.items.oneOf: 'oneOf' cannot",
        ),
    ],
)
def test_what_cannot_be_enforced_is_named_or_an_error(schema: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        by_schema(schema)
    grammar = by_schema(schema, strict=False)
    assert len(grammar.source.unenforced) == 1
    with pytest.raises(InvalidRequest, match=message):
        raise InvalidRequest(grammar.source.unenforced[0])


@pytest.mark.fault("F38")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": {"type": "hiccup"}}}, "schema.properties.a.type: 'hiccup' is not"),
        ({"items": {"type": "string", "pattern": "["}}, "schema.items.pattern: .* cannot be enf"),
        ({"$ref": "#/$defs/a"}, r"schema.\$ref: '#/\$defs/a' does not exist"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "schema: Unsatisfiable"),
        (
            {"type": "array", "items": {"$ref": "http://a.b/c"}},
            r"schema.items.\$ref: .*not fetched",
        ),
        ({"$ref": "file:///etc/passwd"}, r"schema.\$ref: 'file:///etc/passwd' is another document"),
        ({"$ref": "#"}, "schema: no value fits the schema"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            },
            "schema: no value fits the schema",
        ),
        ({"enum": list(range(100_000))}, "schema.enum: 100000 members; at most 10000 are"),
        (
            {"items": {"properties": {f"p{n}": {} for n in range(10_000)}}},
            "schema.items.properties: 10000 members; at most 500",
        ),
        ({"allOf": [{"pattern": f"a.*{n}"} for n in range(40)]}, "schema.allOf: 40 members"),
        ({"description": "a" * (1 << 20)}, "the schema has 1048595 characters"),
        ({"enum": [1, 1 << 64]}, "schema: the integer 18446744073709551616 has more than 64 bits"),
        (
            {"properties": {"a": {"const": (1 << 53) + 1}}},
            "a.const: the integer 9007199254740993 is",
        ),
        (
            {"enum": [1, {"a": [-(1 << 62)]}]},
            "schema.enum: the integer -4611686018427387904 is bey",
        ),
        ({"exclusiveMinimum": 0, "multipleOf": True}, "schema.multipleOf: True is not of type"),
        ({"exclusiveMinimum": 0, "multipleOf": 16777217}, "schema.multipleOf: 16777217 makes too"),
        (
            {"exclusiveMinimum": 0, "multipleOf": -16777217},
            "schema.multipleOf must be above 0, got",
        ),
        ({"anyOf": [{"multipleOf": -0.0}, {}]}, r"anyOf\[0\].multipleOf must be above 0, got -0.0"),
        (
            {"allOf": [{"multipleOf": 997}, {"multipleOf": 1009}]},
            r"allOf\[1\].multipleOf: 1009 .*1,005,973",
        ),
        (
            {"properties": {f"p{n}": {"multipleOf": 0.997, "minimum": n} for n in range(90)}},
            "properties.p50.multipleOf: 0.997 makes too many remainders",
        ),
        ({"const": 10**5000}, r"schema: the integer about 2\*\*16609 has more than 64 bits"),
    ],
)
def test_a_schema_that_no_grammar_can_be_made_of_is_refused(
    schema: Any, message: str, strict: bool
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        by_schema(schema, strict=strict)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"oneOf": [schema, {"type": "string"}]}
    return schema


@pytest.mark.fault("F38")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "((a{100}){100}){100}"},
        {"type": "string", "pattern": "(a+)+$"},
        {"type": "string", "pattern": ".{1,5000}a.{1,5000}b.{1,5000}"},
        nested(25),
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_a_bomb_goes_off_in_no_time(schema: Any) -> None:
    grammar = by_schema(schema, strict=False)
    matcher = grammar.start()
    for _ in range(20):
        assert not matcher.is_error(), matcher.get_error()
        allowed = [token for token in b'[a"]' if matcher.validate_tokens([token])]
        if not allowed:
            break
        matcher.consume_token(allowed[0])


@pytest.mark.fault("F38")
def test_nesting_has_an_end() -> None:
    with pytest.raises(InvalidRequest, match="nested more than 64 levels deep"):
        response_format("response_format", nested(64))


@pytest.mark.fault("F38")
def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile.UNDERWAY, "within", lambda seconds, key, work: None)
    found = grammars()
    with pytest.raises(InvalidRequest, match="schema: compiling the grammar takes more than"):
        by_schema({"type": "string", "pattern": "a{9}"}, found=found)


@pytest.mark.fault("F38")
def test_compiled_grammars_are_kept_up_to_a_number_of_bytes(monkeypatch: Any) -> None:
    found = grammars()
    first = by_schema(OBJECT, found=found)
    assert by_schema(dict(OBJECT), found=found) is first
    monkeypatch.setattr(compile, "KEPT_BYTES", 3 * (128 << 10))
    for n in range(4):
        by_schema({"const": n}, found=found)
        assert len(found._kept) <= 2
    assert by_schema(OBJECT, found=found) is not first


@pytest.mark.fault("F38")
def test_a_grammar_that_took_long_counts_for_more_of_them(monkeypatch: Any) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(compile.time, "thread_time", lambda: next(clock) / 10)
    found = grammars()
    for n in range(9):
        by_schema({"const": n}, found=found)
    assert len(found._kept) == 2  # each a tenth of a second, which is 25 MB


def form(value: Any) -> Any:
    return response_format("response_format", value)


def test_the_other_forms_are_enforced() -> None:
    found = grammars()
    regex = grammar_of(form({"type": "regex", "regex": "[0-9]{2}|é+"}), found)
    assert [reads(regex, text) for text in ("12", "éé", "1", "123")] == [True, True, False, False]
    lark = grammar_of(form({"type": "lark", "lark": 'start: "a" b*\nb: "b" | "c"'}), found)
    assert [reads(lark, text) for text in ("a", "abcb", "b")] == [True, True, False]
    texts = ['say "no"', "back\\slash", "two\nlines", "é"]
    choice = grammar_of(form(texts), found)
    assert all(reads(choice, text) for text in texts)
    assert not reads(choice, "say")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "regex", "regex": "["}, "response_format.regex: "),
        ({"type": "regex", "regex": "a" * 9000 + "["}, "(?s)^.{900,1100}$"),
        ({"type": "lark", "lark": "start: nothing"}, "response_format.lark: "),
        ({"type": "regex", "regex": "(?=a)b"}, "response_format.regex: "),
        ({"type": "regex", "regex": r"[^\s\S]"}, "response_format.regex: no text fits it"),
        ({"type": "lark", "lark": 'start: start "a"'}, "response_format.lark: no text fits it"),
    ],
)
def test_a_form_that_is_no_grammar_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        grammar_of(form(value), grammars())


def test_what_the_grammar_left_open_is_validated() -> None:
    format = form({"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
    assert read("[1, 2]", format, ("uniqueItems",))[1].valid is True
    value, structure = read("[1, 1]", format, ("uniqueItems",))
    assert value == [1, 1] and structure.valid is False
    assert "non-unique" in structure.errors[0]
    assert read("[1, 1]", format, None)[1].valid is False  # from elsewhere: all is validated
    assert read("[1,", format, ())[1].valid is None
    assert read("1e999", form({}), ())[0] is None
    assert read('"2023-02-29"', form({"format": "date"}), ())[1].valid is False
    assert read('"a"', form({"format": "zz"}), ("zz",))[1] == Structure(("zz",), None)
    needs = form({"dependencies": {"a": ["b"]}})
    assert read('{"a": 1}', needs, ("dependencies",))[1].valid is False
    assert json.loads("1e999") == float("inf")


@pytest.mark.fault("F38")
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$dynamicRef": "http://127.0.0.1:1/a"}, 1),
        ({"not": {"$ref": "#/default"}, "default": {"$ref": "http://127.0.0.1:1/a"}}, 1),
        ({"items": [{"type": "string"}]}, ["a"]),
    ],
)
def test_a_schema_that_cannot_be_checked_is_said_and_nothing_is_fetched(
    schema: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[object] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *given: fetched.append(given))
    _, structure = read(json.dumps(value), form(schema), ("something",))
    assert structure.valid is False and "schema cannot be checked" in structure.errors[0]
    assert fetched == []


def test_mistakes_of_a_large_schema_are_not_searched_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("jsonschema.exceptions.best_match")
    with pytest.raises(InvalidRequest, match=r"schema\.not: 'not' cannot be enforced here"):
        by_schema({"enum": [f"value {n}" for n in range(4000)], "not": {}})


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "json_schema", "json_schema": {"name": "a", "schema": OBJECT}},
        {"type": "regex", "regex": "[a-z]+"},
        {"type": "lark", "lark": 'start: "a"'},
    ],
    ids=lambda asked: asked["type"],
)
def test_what_is_kept_is_not_checked_again(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    for name in ("check_size", "check_expression", "check_lark"):
        monkeypatch.setattr(f"cactus.grammar.schema.{name}", lambda *given: checked.append(given))
    found, wanted = grammars(), response_format("response_format", asked)
    assert wanted is not None
    for _ in range(2):
        grammar_of(wanted, found)
    assert len(checked) == 1
