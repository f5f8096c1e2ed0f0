"""The grammars of answers that have a form: JSON by a schema, a regular expression, a choice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cactus.errors import InvalidRequest
from cactus.grammar.compile import Grammar, Grammars, Source
from cactus.grammar.formats import Format

BLANK = r"[\x20\x0A\x0D\x09]{1,40}"
"""White space where JSON allows any: a model that writes nothing else would never end."""


def grammar_of(format: Format, grammars: Grammars) -> Grammar:
    """The grammar of a form of the answer.

    What of a schema cannot be enforced is left out, and noted in its source, or is an error where
    the form is strict. Raises InvalidRequest.
    """
    from llguidance import LLMatcher

    definition, where = format.definition, format.where
    if format.kind == "regex":
        return grammars.compile(Source(LLMatcher.grammar_from_regex(definition), where))
    if format.kind == "lark":
        return grammars.compile(Source(LLMatcher.grammar_from_lark(definition), where))
    if format.kind == "choice":
        texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in definition)
        return grammars.compile(Source(LLMatcher.grammar_from_lark(f"start: {texts}"), where))
    names = tuple(names_in(definition))
    try:
        return grammars.compile(Source(_json(definition, lenient=False), where, True, names))
    except InvalidRequest as error:
        if format.strict:
            raise
        source = Source(_json(definition, lenient=True), where, True, names, (str(error),))
        return grammars.compile(source)


def _json(schema: Any, *, lenient: bool) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(
        schema, overrides={"whitespace_pattern": BLANK, "lenient": lenient}
    )


def names_in(schema: Any) -> Iterator[str]:
    """The names of all properties in a schema."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for value in schema.values():
            yield from names_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from names_in(value)
