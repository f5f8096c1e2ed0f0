"""Regular expressions of a schema, matched in a time that grows with the text alone."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from cactus.errors import InvalidRequest
from cactus.grammar.limits import compiler_limits
from cactus.grammar.sizes import check_expression
from cactus.inputs.checks import short

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Unchecked(Exception):
    """An expression that only Python's ``re`` could try, which may take for ever."""


def fits(pattern: str, text: str) -> bool:
    """Whether `pattern`, as JSON schema means it, is found in `text`. Raises Unchecked.

    It is what the grammar allows, too: no steps back, so that nothing takes exponential time.
    """
    matcher = _matcher(pattern).deep_copy()
    tokens = list(json.dumps(text, ensure_ascii=False).encode())
    return matcher.validate_tokens(tokens) == len(tokens) and bool(
        matcher.consume_tokens(tokens) and matcher.is_accepting()
    )


def check_names(pattern: str) -> None:
    """Raises Unchecked for an expression about names of properties that ``re`` may be long at."""
    if "(" in pattern or sum(pattern.count(sign) for sign in "*+{") > 2:
        raise Unchecked(f"patternProperties {short(pattern)}")


@lru_cache(maxsize=8)  # up to 40 MB each
def _matcher(pattern: str) -> LLMatcher:
    from llguidance import LLMatcher, LLTokenizer

    try:
        check_expression(pattern, "pattern")
    except InvalidRequest:
        raise Unchecked(f"pattern {short(pattern)}") from None
    schema = {"type": "string", "pattern": pattern}
    matcher = LLMatcher(
        LLTokenizer("byte"),
        LLMatcher.grammar_from_json_schema(schema),
        log_level=0,
        limits=compiler_limits(),
    )
    if matcher.is_error():
        raise Unchecked(f"pattern {short(pattern)}")
    return matcher
