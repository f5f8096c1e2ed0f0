"""Answers of models with calls of tools, in the way of every family, whole and in pieces.

Calls are written as a family writes them and damaged: markers dropped, doubled and mixed, values
cut, quoted wrongly or nested. No answer may raise, and however it is cut into pieces, it is the
same text and the same calls.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from cactus.chat.calls.syntax import SYNTAXES
from fuzzers.base import JSON_VALUES, NUMBERS, Case, Fuzzer, change_words
from tests.chat.calls.reading import TOOLS, comes_to, found_in

BY_NAME = {syntax.name: syntax for syntax in SYNTAXES}
KEYS = ("location", "days", "content", "from", "x", "", "é", "a b", "name", "arguments")
WORDS = (
    *("{", "}", "[", "]", '"', "'", "\\", ",", ":", "=", "(", ")", "null", "None", "True", "1e999"),
    *(
        "```json\n",
        "```",
        "<tools>",
        "</tools>",
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
    ),
    *("<function=get_weather>", "</function>", "<parameter=location>", "</parameter>", "<escape>"),
    *(
        "get_weather",
        "now",
        "memory.get",
        '"name"',
        '"arguments"',
        '"parameters"',
        "\n",
        " ",
        "é😀",
    ),
    *("\\u00e9", "\\ud83d", '\\"', "f'x'", '"""', "lambda: 0", "-", "0x1F", "1_000", "__import__"),
)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return rng.choice(
            ("Paris", "", "é😀", 'a"b', "a'b", "a\nb", "\\", "<escape>", "}", "x" * 50)
        )
    if kind == 1:
        return rng.choice((*NUMBERS, -1, 0.5, -0.0, 1e22, 1e-7))
    if kind == 2:
        return rng.choice((True, False, None))
    if kind == 3:
        return rng.choice(
            [each for each in JSON_VALUES if len(str(each)) < 99 and each != "\ud800"]
        )
    if kind == 4:
        return "".join(rng.choice(WORDS) for _ in range(rng.randrange(5)))
    if kind == 5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(4))}


class Fuzz(Fuzzer):
    """Answers with calls."""

    errors = ()
    cpu_seconds = 1.0

    def __init__(self, scratch: Path) -> None:
        pass

    def make(self, rng: random.Random) -> Case:
        """A damaged answer."""
        syntax = rng.choice(SYNTAXES)
        parts: list[str] = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            if rng.random() < 0.4:
                parts.append(rng.choice(("I look.\n", " ", "\n\n", "Done.", "<", "{", "```")))
            calls = []
            for _ in range(rng.choice((1, 1, 2))):
                arguments = {rng.choice(KEYS): value(rng) for _ in range(rng.randrange(3))}
                name = rng.choice((*TOOLS, *TOOLS, "other", ""))
                calls.append({"name": name, "arguments": arguments})
            parts.append(str(syntax.write(calls)))
        answer = "".join(parts)
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            answer = changed(rng, answer)
        return Case(syntax.name, answer[:20_000].encode("utf-8", "surrogatepass"))

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """Text changed as text."""
        answer = changed(rng, case.data.decode("utf-8", "replace"))
        if rng.random() < 0.2:
            more = other.data.decode("utf-8", "replace")
            answer = answer[: rng.randrange(len(answer) + 1)] + more
        return Case(case.kind, answer[:3000].encode("utf-8", "surrogatepass"))

    def run(self, case: Case) -> None:
        """Read it whole, in single characters and in pieces of any size."""
        syntax = BY_NAME[case.kind]
        answer = case.data.decode("utf-8", "replace")
        whole = comes_to(found_in(syntax, [answer]))
        for name, arguments in whole[1]:
            assert name in TOOLS and isinstance(arguments, dict)
            json.dumps(arguments)
        rng, pieces, at = case.chance(), [], 0
        while at < len(answer):
            size = rng.choice((1, 1, 2, 7, 40))
            pieces.append(answer[at : at + size])
            at += size
        assert comes_to(found_in(syntax, pieces)) == whole, "in pieces it is another"
        if len(answer) < 2000:
            assert comes_to(found_in(syntax, list(answer))) == whole, "by characters it is another"


def changed(rng: random.Random, text: str) -> str:
    """An answer changed at one place, often by what has a meaning there."""
    at = rng.randrange(len(text) + 1)
    if rng.random() < 0.5:
        words = (*WORDS, *(each for s in SYNTAXES for each in (*s.openers, *s.closers)))
        return text[:at] + rng.choice(words) + text[at + rng.choice((0, 0, 1, 5)) :]
    return change_words(rng, text).replace("\ud800", "?")
