"""Two texts that a model reads together, and the special tokens around them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from cactus.compat import Self
from cactus.errors import TokenizerError


class PairFrame(NamedTuple):
    """The special tokens before, between and behind two texts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, encoding: Any) -> Self:
        """From two texts that the tokenizer's library has encoded together, special tokens added.

        Raises TokenizerError where it does not keep them apart.
        """
        around: list[tuple[int, ...]] = [(), (), ()]
        texts: list[int] = []
        tokens = zip(encoding.ids, encoding.sequence_ids, strict=True)
        for text, run in groupby(tokens, lambda token: token[1]):
            if text is None:
                around[len(texts)] = tuple(id for id, _ in run)
            else:
                texts.append(text)
            if texts != [0, 1][: len(texts)]:
                raise TokenizerError("tokenizer.json: two texts do not stay apart in a pair")
        return cls(*around)

    @property
    def size(self) -> int:
        """How many special tokens a pair has."""
        return sum(map(len, self))

    def join(self, one: Sequence[int], other: Sequence[int]) -> list[int]:
        """The ids of a pair."""
        return [*self.before, *one, *self.between, *other, *self.after]
