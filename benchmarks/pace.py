"""When the pieces of a streamed answer came, and what many such answers are like together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Pace:
    """One answer as its reader saw it: when it was asked for, and when each piece came."""

    begun: float = 0.0
    times: list[float] = field(default_factory=list)
    tokens: int = 0
    """Of the whole answer: a piece may have several."""

    @property
    def first(self) -> float:
        """Seconds to the first piece."""
        return self.times[0] - self.begun

    @property
    def gaps(self) -> list[float]:
        """Pauses between pieces."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]

    @property
    def per_token(self) -> float:
        """Seconds a token, from the first on."""
        return (self.times[-1] - self.times[0]) / max(1, self.tokens - 1)


def spread(paces: Sequence[Pace]) -> float:
    """The longest time for a token of an answer over the median: is somebody left behind?"""
    each = [pace.per_token for pace in paces]
    return max(each) / statistics.median(each)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
