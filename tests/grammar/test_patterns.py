from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator

from cactus.grammar.compile import Source
from cactus.grammar.patterns import FORMATS, of_format, of_pattern
from tests.grammar.vocabulary import grammars, reads

FOUND = grammars()


def passes(terminal: str, text: str) -> bool:
    from llguidance import LLMatcher

    source = Source(LLMatcher.grammar_from_lark(f"start: T\nT: {terminal}"), "test")
    return reads(FOUND.compile(source), text)


@pytest.mark.parametrize(
    "pattern",
    ["^a+$", "a", "^[^$]b", "c\\$$", "a|b", "^(a|b)$", "^\\d{2}/\\w$", "^é.$", r"^a\/b", "[$^]"],
)
def test_a_pattern_finds_what_it_finds(pattern: str) -> None:
    terminal = of_pattern(pattern)
    assert terminal is not None
    for text in ("a", "aaa", "xax", "b", "c$", "xb", "12/a", "éx", "a/b", "", "$", "x\ny"):
        found = re.search(pattern.replace("$", r"\Z") if pattern.endswith("$") else pattern, text)
        if pattern in ("c\\$$",):
            found = re.search(r"c\$\Z", text)
        assert passes(terminal, text) == bool(found), (pattern, text)


@pytest.mark.parametrize("pattern", ["^a|b$", "(^a)", "a$b", 5])
def test_a_pattern_with_anchors_inside_is_left_out(pattern: object) -> None:
    assert of_pattern(pattern) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("date", "2024-02-28"),
        ("time", "23:59:59Z"),
        ("date-time", "1999-12-31T00:00:00.5+01:00"),
        ("email", "a.b@c.de"),
        ("ipv4", "192.168.0.255"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000"),
    ],
)
def test_a_format_lets_through_what_it_means(name: str, text: str) -> None:
    terminal = of_format(name)
    assert terminal is not None
    assert passes(terminal, text) and not passes(terminal, text[:-1] + "!")
    assert Draft202012Validator.FORMAT_CHECKER.conforms(text, name)
    assert set(FORMATS) == {"date", "time", "date-time", "email", "ipv4", "uuid"}
