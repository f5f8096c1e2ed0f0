"""What a grammar in Lark would cost the compiler, as far as its text says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from cactus.errors import InvalidRequest
from cactus.grammar.limits import check_size
from cactus.grammar.sizes import (
    MOST_CHARACTERS,
    MOST_WAYS,
    check_expression,
    check_optional,
    check_ways,
    optional_in,
    size_of,
)
from cactus.inputs.text import cut
from cactus.post_order import post_order

MOST_RULES = 3000
"""Rules and brackets: the compiler goes from one into the other, three kilobytes of the stack each
(`underway.STACK`)."""

_WORD = re.compile(
    r"""(?P<skip>\s+|(?:\#|//)[^\n]*)
    |(?P<text>"(?:\\.|[^"\\])*"i?)
    |(?P<expression>/(?:\\.|[^/\\])+/[imslux]*)
    |(?P<schema>%json\s*(?=\{))
    |(?P<name>[_?]?[a-zA-Z][\w-]*)
    |(?P<sign>::|.)""",
    re.DOTALL | re.VERBOSE,
)

_PRIORITY = frozenset(".-0123456789")

_Words = list[tuple[str, str]]
"""What kind of word each is, and its text."""


def check_lark(text: str, where: str) -> None:
    """InvalidRequest where a grammar is too large to be compiled, with the rule that is."""
    rules: dict[str, list[_Words]] = {"": [[]]}  # the parts between & of each
    words = list(_words(text, where))
    characters = sum(len(word) for _, word in words)
    begins = _begins(words)
    nested = len(begins) + sum(word in ("(", "[") for _, word in words)
    here = rules[""]
    for index, (kind, word) in enumerate(words):
        if index in begins:
            here = rules.setdefault(word, [])
            here.append([])
        elif word == "&":
            here.append([])
        else:
            here[-1].append((kind, word))
    if characters > MOST_CHARACTERS:
        raise InvalidRequest(
            f"{where}: the grammar has {characters:,} characters, without its schemas; at most "
            f"{MOST_CHARACTERS:,} are compiled"
        )
    if nested > MOST_RULES:
        raise InvalidRequest(
            f"{where}: the grammar has {nested:,} rules and brackets; at most {MOST_RULES:,} are "
            "compiled"
        )
    _check_terminals(rules, where)


def _begins(words: _Words) -> set[int]:
    """Which words are names that are defined: ``name``, ``name.1``, ``name[a=1]``, ``name::_``."""
    begins: set[int] = set()
    opened: list[int] = []
    opening: dict[int, int] = {}
    for index, (_, word) in enumerate(words):
        if word == "[":
            opened.append(index)
        elif word == "]" and opened:
            opening[index] = opened.pop()
        elif word == ":":
            at = opening.get(index - 1, index) - 1
            while at > 0 and words[at][1] in _PRIORITY:
                at -= 1
            if at > 1 and words[at - 1][1] == "::":
                at -= 2
            if at >= 0 and words[at][0] == "name":
                begins.add(at)
    return begins


def _words(text: str, where: str) -> Iterator[tuple[str, str]]:
    """The words of a grammar; its schemas and expressions are checked."""
    at, schemas = 0, 0
    while found := _WORD.match(text, at):
        kind, at = found.lastgroup or "", found.end()
        if kind == "schema":
            schemas += 1
            try:
                schema, at = json.JSONDecoder().raw_decode(text, at)
            except (ValueError, RecursionError):
                raise InvalidRequest(
                    f"{where}: what follows %json ({schemas}) is not JSON"
                ) from None
            check_size(schema, f"{where}: %json {schemas}")
        elif kind == "expression":
            check_expression(found[kind][1:-1], f"{where}: {cut(found[kind], 40)}")
        if kind not in ("skip", "schema"):
            yield kind, found[kind]


def _check_terminals(rules: dict[str, list[_Words]], where: str) -> None:
    """The expressions that terminals are put together of: each stands where it is named."""
    parts = {name: each for name, each in rules.items() if name.strip("_?")[:1].isupper()}
    uses = {
        name: Counter(word for part in each for kind, word in part if kind == "name")
        for name, each in parts.items()
    }
    sizes: dict[str, tuple[int, int]] = {}
    ways: dict[str, int] = {}
    for name in post_order(uses, lambda name: uses[name].keys() & uses.keys()):
        words = [word for part in parts[name] for word in part]
        characters, optional = sum(len(word) for _, word in words), _optional(words)
        for used, times in uses[name].items():
            more = sizes.get(used, (0, 0))
            characters, optional = characters + times * more[0], optional + times * more[1]
        check_optional(characters, optional, f"{where}: {name}")
        sizes[name] = characters, optional
        product = 1
        for part in parts[name]:
            product = min(product * _ways(part, ways), MOST_WAYS + 1)
        ways[name] = product
        if len(parts[name]) > 1:
            check_ways(product, f"{where}: {name}")


def _optional(words: _Words) -> int:
    """Of the words of a terminal: how many of its parts may be left out."""
    inside = sum(size_of(word[1:-1]).optional for kind, word in words if kind == "expression")
    signs = "".join(
        word if kind == "sign" else "" if word in ('""', '""i') else "a" for kind, word in words
    )
    return inside + optional_in(signs) + signs.count("[")


def _ways(part: _Words, known: dict[str, int]) -> int:
    """In how many ways a character may fit what stands between two &."""
    if len(part) == 2 and part[0][1] == "~":
        return 1  # either it is barred or not
    classes, most = set[Any](), 0
    for kind, word in part:
        if kind == "expression":
            classes |= size_of(word[1:-1]).classes
    named = {word for kind, word in part if kind == "name"}
    most = sum(known.get(word, 2) for word in named)
    return max(1, most + len(classes) + (2 if classes or not named else 0))
