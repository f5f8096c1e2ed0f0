"""Reuse of what a session has already read: the longest common prefix, for every architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from cactus.engine.contract import Session

S = TypeVar("S", bound=Session)


class CachedSession(Generic[S]):
    """A session, and the tokens that are truly in its caches.

    A token that was sampled but not fed to the model yet is not in the cache, so it is not in
    `tokens` either: that is what keeps the second turn of a conversation right. Only calls that
    have the same `memory` may go on from it (`Tenant`).
    """

    def __init__(self, session: S, memory: str | None = None) -> None:
        self.session, self.memory = session, memory
        self.tokens: list[int] = []
        self.shared = False
        """Whether several go on from here, so that none may continue it itself."""

    def fork(self) -> CachedSession[S]:
        """One with the same past; the two go on independently."""
        copy: CachedSession[S] = CachedSession(self.session.fork(), self.memory)
        copy.tokens = list(self.tokens)
        return copy

    def rewind(self, prompt: list[int]) -> int:
        """Keep the part of the cache that `prompt` begins with; returns how many tokens that is.

        At least the last token of the prompt is always left to be fed, because its logits are what
        the answer begins from. A hybrid model may have to go back further than asked; the position
        that it reached is the one that counts.
        """
        self.cut(min(common_prefix(self.tokens, prompt), len(prompt) - 1))
        return len(self.tokens)

    def cut(self, length: int) -> None:
        """Forget everything from `length` on; a hybrid model may have to forget more."""
        length = min(length, self.session.length)
        # Cut first: if truncating fails, the record never claims more than there is.
        del self.tokens[length:]
        if self.session.length > length:
            # More than `length` may be there without being on record, after an interrupted step.
            del self.tokens[self.session.truncate(length) :]

    def fed(self, start: int, tokens: Sequence[int]) -> None:
        """Record that a step has put `tokens` into the cache, from position `start` on."""
        self.tokens[start:] = tokens


def common_prefix(left: list[int], right: list[int]) -> int:
    """How many tokens `left` and `right` have in common at their beginning."""
    limit = min(len(left), len(right))
    # Almost always one is the beginning of the other: compare whole slices before single tokens.
    if left[:limit] == right[:limit]:
        return limit
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
