"""The grammars of answers that have a form: JSON by a schema, a regular expression, a choice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cactus.errors import InvalidRequest
from cactus.grammar.compile import Grammar, Grammars, Source
from cactus.grammar.formats import Format
from cactus.grammar.keywords import keywords
from cactus.grammar.lark import BLANK
from cactus.grammar.limits import check_integers, check_size, explained
from cactus.grammar.rules import check_lark
from cactus.grammar.sizes import check_expression


def grammar_of(format: Format, grammars: Grammars) -> Grammar:
    """The grammar of a form of the answer.

    What of a schema cannot be enforced is left out, and noted in its source, or is an error where
    the form is strict. Raises InvalidRequest.
    """
    from llguidance import LLMatcher

    definition, where = format.definition, format.where
    if format.kind == "json":
        return _grammar_of_schema(definition, where, format.strict, grammars)
    if format.kind == "regex":
        source = Source(LLMatcher.grammar_from_regex(definition), where)
    else:
        lark = definition if format.kind == "lark" else _choice(definition)
        source = Source(LLMatcher.grammar_from_lark(lark), where)
    if source not in grammars:  # what is kept was checked
        _check_text(format)
    try:
        return grammars.compile(source)
    except InvalidRequest as error:
        why = "no text fits it" if "NoExtension" in str(error) else error
        raise InvalidRequest(f"{where}: {why}") from None


def _check_text(format: Format) -> None:
    if format.kind == "regex":
        check_expression(format.definition, format.where)
    elif format.kind == "lark":
        check_lark(format.definition, format.where)


def _grammar_of_schema(schema: Any, where: str, strict: bool, grammars: Grammars) -> Grammar:
    check_integers(schema, where)
    parts = parts_of(schema)
    source = Source(_json(schema, lenient=False), where, True, parts)
    if source not in grammars:  # what is kept was checked
        check_size(schema, where)
    try:
        return grammars.compile(source)
    except InvalidRequest as error:
        why = explained(str(error), schema, where)
    if strict:
        raise InvalidRequest(why)
    try:
        text = _json(schema, lenient=True)
        return grammars.compile(Source(text, where, True, parts, unenforced=(why,)))
    except InvalidRequest:
        raise InvalidRequest(why) from None


def _choice(texts: Sequence[str]) -> str:
    """One of some texts, in Lark: as a terminal, since a rule has no more than 2000 beginnings."""
    return f"start: TEXT\nTEXT: {' | '.join(written(text) for text in texts)}"


def _json(schema: Any, *, lenient: bool) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(
        json.dumps(schema), overrides={"whitespace_pattern": BLANK, "lenient": lenient}
    )


def parts_of(schema: Any) -> tuple[str, ...]:
    """What may begin late in JSON by a schema, written in short: the properties of its parts."""
    if not isinstance(schema, dict):
        return ()
    properties = schema.get("properties")
    parts = list(properties.items()) if isinstance(properties, dict) else []
    rest = {key: value for key, value in schema.items() if key != "properties"}
    return tuple(written({name: names_in(part)}) for name, part in [*parts, ("", rest)])


def names_in(schema: Any) -> dict[str, int]:
    """The names of all properties in a schema, as keys."""
    found: dict[str, int] = {}
    for _, key, value in keywords(schema, ""):
        if key == "properties" and isinstance(value, dict):
            found |= dict.fromkeys(value, 0)
    return found


def written(value: Any) -> str:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False)
