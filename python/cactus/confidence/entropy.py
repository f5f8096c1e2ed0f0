"""How sure the model was: 1 - mean(entropy) / ln(vocabulary), over the raw distributions.

It is a plain number between 0 (every token equally likely) and 1 (no doubt at all), without any
calibration: on a vocabulary of 50,000 most answers lie between 0.75 and 0.99.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

WINDOW = 10
"""Tokens in the rolling mean that decides whether to hand off in the middle of an answer."""


class Confidence:
    """Collects entropies in nats, one a token, and compares them with a threshold.

    `threshold` None never hands off. The first token is judged alone; after that, the mean over the
    last ten tokens, as soon as there are ten.
    """

    def __init__(self, vocab_size: int, threshold: float | None) -> None:
        self._scale = 1.0 / math.log(vocab_size) if vocab_size > 1 else 0.0
        self._threshold = threshold
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._total = 0.0
        self._count = 0
        self._skipped = False

    def add(self, entropy: float) -> bool:
        """Counts one token; true when confidence has fallen below the threshold."""
        self._total += entropy
        self._count += 1
        if self._threshold is None:
            return False
        self._recent.append(entropy)
        if self._count == 1:
            return self.of(entropy) < self._threshold
        if self._count < WINDOW:
            return False
        return self.of(sum(self._recent) / WINDOW) < self._threshold

    def skip(self) -> None:
        """There is one more token, of which there was no choice."""
        self._skipped = True

    @property
    def value(self) -> float:
        """The confidence over all tokens so far, 0 to 1; 0 before the first."""
        if not self._count:
            return float(self._skipped)
        return self.of(self._total / self._count)

    def of(self, entropy: float) -> float:
        """The confidence of one token, 0 to 1."""
        return min(1.0, max(0.0, 1.0 - entropy * self._scale))


def lowest(confidences: Sequence[float]) -> float:
    """The least that an answer with these tokens comes down to: below a higher threshold it is
    handed off. 1 for no tokens."""
    if not confidences:
        return 1.0
    windows = range(len(confidences) - WINDOW + 1)
    means = (sum(confidences[start : start + WINDOW]) / WINDOW for start in windows)
    return min(confidences[0], *means) if windows else confidences[0]
