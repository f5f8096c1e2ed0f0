"""How much several answers to one question say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cactus.confidence.questions import last_number, plain


def agreement(text: str, others: Sequence[str]) -> float:
    """How far `others` agree with `text`, 0 to 1: the mean of what two texts have in common.

    That is the share of words (F1, as for SQuAD), or 1 where both end in the same number.
    """
    return sum(in_common(text, other) for other in others) / len(others)


def in_common(one: str, other: str) -> float:
    """How far two texts say the same, 0 to 1."""
    numbers = last_number(one), last_number(other)
    if None not in numbers:
        return float(numbers[0] == numbers[1])
    a, b = (Counter(plain(text).split()) for text in (one, other))
    if not a or not b:
        return float(a == b)
    same = (a & b).total()
    return 2 * same / (a.total() + b.total())
