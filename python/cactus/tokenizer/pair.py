"""Two texts that a model reads together: what stands around them, and the type of each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cactus.compat import Self
from cactus.errors import TokenizerError


@dataclass(frozen=True, slots=True)
class PairFrame:
    """The special tokens before, between and behind two texts, as (id, type).

    `first` and `second` are the types of the tokens of the texts themselves.
    """

    before: tuple[tuple[int, int], ...]
    between: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    first: int
    second: int

    @classmethod
    def of(cls, encoding: Any) -> Self:
        """From two texts that the tokenizer's library has encoded together, special tokens added.

        Raises TokenizerError where it does not keep them apart.
        """
        tokens = zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True)
        runs = [(text, list(run)) for text, run in groupby(tokens, lambda token: token[2])]
        order = [text for text, _ in runs if text is not None]
        if order != [0, 1]:
            raise TokenizerError("tokenizer.json: two texts do not stay apart in a pair")
        around: list[list[tuple[int, int]]] = [[], [], []]
        types: list[int] = []
        for text, run in runs:
            if text is None:
                around[len(types)] = [(id, kind) for id, kind, _ in run]
            else:
                types.append(run[0][1])
        before, between, after = map(tuple, around)
        return cls(before, between, after, *types)

    @property
    def size(self) -> int:
        """How many special tokens a pair has."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, one: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
        """The ids of a pair and their types."""
        pairs = [
            *self.before,
            *((id, self.first) for id in one),
            *self.between,
            *((id, self.second) for id in other),
            *self.after,
        ]
        return [id for id, _ in pairs], [kind for _, kind in pairs]
