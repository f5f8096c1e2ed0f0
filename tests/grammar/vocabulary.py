"""A vocabulary of bytes and a few words, and grammars for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from cactus.grammar.compile import Grammar, Grammars
from cactus.grammar.formats import Format
from cactus.grammar.schema import grammar_of

END = 256
FIRST_WORD = 257


class WordTokenizer:
    """A token for each byte, an end, and `words`; `markup` are those that are no text."""

    token_bytes = SimpleNamespace(exact=True)
    eos_ids = (END,)
    bos_id = None

    def __init__(self, words: Sequence[str] = (), markup: Sequence[str] = ()) -> None:
        self.markup = ["<end>", *markup]
        self._words = [*words, *markup]
        self._ids = {"<end>": END} | {word: FIRST_WORD + n for n, word in enumerate(self._words)}
        self.vocab_size = FIRST_WORD + len(self._words)
        self.special_ids = frozenset({END})

    def token_to_id(self, token: str) -> int | None:
        return self._ids.get(token)

    def token_bytes_of(self, id: int) -> bytes:
        if id < 256:
            return bytes([id])
        return b"<end>" if id == END else self._words[id - FIRST_WORD].encode()

    def encode(self, text: str) -> list[int]:
        """The longest word at each place, else a byte."""
        words = [word.encode() for word in self._words if word not in self.markup]
        data, ids, at = text.encode(), list[int](), 0
        while at < len(data):
            fitting = [word for word in words if data.startswith(word, at)]
            word = max(fitting, key=len, default=data[at : at + 1])
            ids.append(word[0] if len(word) == 1 else self._ids[word.decode()])
            at += len(word)
        return ids

    def spelled(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes_of, ids)).decode()


def grammars(words: Sequence[str] = (), markup: Sequence[str] = ()) -> Grammars:
    tokenizer: Any = WordTokenizer(words, markup)
    return Grammars(tokenizer, tokenizer.vocab_size + 40)


def by_schema(schema: Any, *, strict: bool = True, found: Grammars | None = None) -> Grammar:
    return grammar_of(Format("json", schema, "schema", strict), found or grammars())


def reads(grammar: Grammar, text: str) -> bool:
    """Whether the grammar takes the text as a whole."""
    return reads_tokens(grammar, grammar.table.encode(text))


def reads_tokens(grammar: Grammar, tokens: Sequence[int]) -> bool:
    matcher = grammar.start()
    return matcher.try_consume_tokens(list(tokens)) == len(tokens) and matcher.is_accepting()


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
