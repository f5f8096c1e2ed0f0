"""How many tokens an answer has taken, as all dialects count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cactus.model import Model
from cactus.types import Completion

CLOSE = "</think>"
"""What ends reasoning; it counts as a part of it."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that were read and written.

    `prompt` has those that were `cached`, `written` those of `reasoning`. The token that ends a
    turn is not counted.
    """

    prompt: int
    cached: int
    written: int
    reasoning: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.written


def tokens_of(model: Model, answers: Sequence[Completion]) -> Tokens:
    """The tokens of the answers to one prompt, which counts once."""
    first = answers[0].metrics
    return Tokens(
        prompt=first.prefill_tokens + first.cached_tokens,
        cached=first.cached_tokens,
        written=sum(each.metrics.decode_tokens for each in answers),
        reasoning=sum(reasoning_tokens(model, each) for each in answers),
    )


def reasoning_tokens(model: Model, done: Completion) -> int:
    """How many tokens of an answer are reasoning, with the tag that ends it."""
    if done.reasoning is None:
        return 0
    tokens, low, high = done.tokens, 0, len(done.tokens)
    while low < high:  # the fewest that have the tag
        middle = (low + high) // 2
        if CLOSE in model.detokenize(tokens[:middle], skip_special=False):
            high = middle
        else:
            low = middle + 1
    return low
