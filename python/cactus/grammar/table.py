"""What the tokens of one model are to a grammar: their bytes, which are markup, which end it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cactus.chat.reasoning import CLOSE, OPEN
from cactus.errors import UnsupportedModel
from cactus.grammar.numbers import is_too_long

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from numpy.typing import NDArray

    from cactus.tokenizer import Tokenizer


class Table:
    """A vocabulary as matchers read it, for logits of `rows` tokens: made once a model.

    Markup is never text: a grammar names such a token by its id, and no string can hold it. Masks
    are uint32 [words]: token t is bit t % 32 of word t / 32.
    """

    def __init__(self, tokenizer: Tokenizer, rows: int) -> None:
        if not tokenizer.token_bytes.exact:
            raise UnsupportedModel(
                "the tokens of this model have no bytes of their own, so that no grammar can be "
                "kept: leave out response_format, schema and force_tools"
            )
        from llguidance import LLTokenizer, TokenizerWrapper

        self._tokenizer = tokenizer
        self.words = (rows + 31) // 32
        named = map(tokenizer.token_to_id, tokenizer.markup)
        self.markup = frozenset({*tokenizer.special_ids, *(id for id in named if id is not None)})
        size = min(rows, tokenizer.vocab_size)
        self.bytes = [tokenizer.token_bytes_of(id) for id in range(size)] + [b""] * (rows - size)
        self.ends = frozenset(id for id in tokenizer.eos_ids if id < rows)
        wrapper: Any = TokenizerWrapper(_Vocabulary(self))
        self.native: LLTokenizer = LLTokenizer(wrapper, n_vocab=rows)
        self._thoughts: dict[bytes, NDArray[Any]] = {}
        self._digits: dict[int, NDArray[Any]] = {}

    def mask(self, ids: Iterable[int]) -> NDArray[Any]:
        """The mask that allows `ids` alone."""
        import numpy as np

        mask = np.zeros(self.words, np.uint32)
        for id in ids:
            mask[id // 32] |= np.uint32(1 << id % 32)
        return mask

    def id_of(self, markup: str) -> int | None:
        """The id of a spelling that is markup in this vocabulary."""
        id = self._tokenizer.token_to_id(markup)
        return id if id in self.markup else None

    def encode(self, text: str) -> list[int]:
        """The tokens of a piece of an answer."""
        ids = self._tokenizer.encode(text)
        data = text.encode()
        if b"".join(self.bytes[id] for id in ids) == data:
            return ids
        # A vocabulary that puts a space before every text: the longest tokens, one after another.
        ids, at = [], 0
        while at < len(data):
            size = min(self._longest, len(data) - at)
            while size > 1 and data[at : at + size] not in self.plain:
                size -= 1
            ids += [self.plain[data[at : at + size]]] if data[at : at + size] in self.plain else []
            at += size
        return ids

    @cached_property
    def plain(self) -> dict[bytes, int]:
        """The id of each token that is text, by its bytes."""
        numbered = reversed(list(enumerate(self.bytes)))
        return {data: id for id, data in numbered if data and id not in self.markup}

    @cached_property
    def letters(self) -> list[int]:
        """The tokens of one printable character of ASCII, but quotes and backslash."""
        return [id for data, id in self.plain.items() if len(data) == 1 and _is_letter(data)]

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.plain), default=1)

    # -- masks around the grammar

    @cached_property
    def end(self) -> NDArray[Any]:
        """The tokens that end an answer."""
        return self.mask(self.ends)

    @cached_property
    def opening(self) -> NDArray[Any]:
        """The tokens with which reasoning begins."""
        id = self.id_of(OPEN)
        return self.mask(self.prefixes(OPEN) if id is None else [id])

    @cached_property
    def blanks(self) -> NDArray[Any]:
        """The tokens that may stand between reasoning and the answer."""
        return self.mask(id for data, id in self.plain.items() if is_blank(data))

    def thinking(self, tail: bytes) -> NDArray[Any]:
        """The tokens of reasoning that ends with `tail`: no end of the answer, no other text behind
        the end of reasoning."""
        close = CLOSE.encode()
        begun = max(size for size in range(len(close)) if tail.endswith(close[:size]))
        rest = b"" if self.id_of(CLOSE) is not None else close[begun:] if begun else b""
        if rest not in self._thoughts:
            bad = {id for data, id in self.plain.items() if rest and _goes_beyond(data, rest)}
            self._thoughts[rest] = ~self.mask(self.ends | bad)
        return self._thoughts[rest]

    def digits(self, left: int) -> NDArray[Any]:
        """All tokens but those with which a number gets more than `left` digits."""
        if left not in self._digits:
            bad = (id for data, id in self.plain.items() if is_too_long(data, left))
            self._digits[left] = ~self.mask(bad)
        return self._digits[left]

    def prefixes(self, text: str) -> list[int]:
        """The tokens that `text` begins with."""
        data = text.encode()
        return [id for n in range(len(data)) if (id := self.plain.get(data[: n + 1])) is not None]


def is_blank(data: bytes) -> bool:
    """Whether a token is nothing but white space, and not much."""
    return 1 <= len(data) <= 4 and not data.strip(b" \t\r\n")


def _is_letter(data: bytes) -> bool:
    return 0x20 < data[0] < 0x7F and data not in b"\"'\\"


def _goes_beyond(data: bytes, rest: bytes) -> bool:
    return data.startswith(rest) and bool(data[len(rest) :].strip())


class _Vocabulary:
    """A table as llguidance asks for it."""

    bos_token_id = None

    def __init__(self, table: Table) -> None:
        self._table = table
        self.tokens = table.bytes
        self.special_token_ids = sorted(table.markup)
        self.eos_token_id = min(table.ends, default=0)

    def __call__(self, text: str) -> list[int]:
        return self._table.encode(text)
