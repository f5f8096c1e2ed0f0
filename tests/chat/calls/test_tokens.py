"""Calls that come token by token, of a real vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest

from cactus.chat.calls.parser import CallParser, Found
from cactus.chat.calls.syntax import SYNTAXES, Syntax
from cactus.tokenizer import Tokenizer
from tests.chat.calls.reading import TOOLS, comes_to


@pytest.fixture(scope="module")
def tokenizer(starter_folder: Path) -> Tokenizer:
    return Tokenizer.load(starter_folder)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_beginning_of_an_answer_gives_the_same_token_by_token(
    tokenizer: Tokenizer, syntax: Syntax
) -> None:
    first = {"name": "get_weather", "arguments": {"location": 'Köln 🎉 "it\'s"\n', "days": 2}}
    second = {"name": "write", "arguments": {"content": "naïve }] – ₤", "x": {"a": [None, 1.5]}}}
    answer = "So: " * (syntax.name != "llama") + str(syntax.write([first, second]))
    ids = tokenizer.encode(answer)
    assert len(ids) > 30
    parser, decoder = CallParser(syntax, TOOLS), tokenizer.stream()
    told: list[Found] = []
    for count, id in enumerate(ids, 1):
        told += parser.push(decoder.push(id))
        if count % 3 == 0 or count == len(ids):
            text = tokenizer.decode(ids[:count])
            whole = CallParser(syntax, TOOLS)
            assert comes_to(whole.push(text) + whole.flush()) == comes_to(
                ended_here(syntax, tokenizer, ids[:count])
            )
    told += parser.push(decoder.flush()) + parser.flush()
    _, calls = comes_to(told)
    assert calls == [(call["name"], call["arguments"]) for call in (first, second)]


def ended_here(syntax: Syntax, tokenizer: Tokenizer, ids: list[int]) -> list[Found]:
    """All that is told of these tokens, one by one, where the answer ends behind them."""
    parser, decoder = CallParser(syntax, TOOLS), tokenizer.stream()
    told = [found for id in ids for found in parser.push(decoder.push(id))]
    return told + parser.push(decoder.flush()) + parser.flush()
