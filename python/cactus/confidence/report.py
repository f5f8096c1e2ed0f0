"""What a confidence is worth: does it rank right answers first, and do its numbers come true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BINS = 10
THRESHOLDS = tuple(round(0.1 * n, 1) for n in range(1, 10))


@dataclass(frozen=True)
class Bin:
    """`count` answers with a confidence from `low` to `high`: its mean, and the share `right`."""

    low: float
    high: float
    count: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Share:
    """At a `threshold`: the share of answers `handed_off`, and the share `right` of the rest."""

    threshold: float
    handed_off: float
    right: float | None


@dataclass(frozen=True)
class Report:
    """What a confidence is worth.

    `auroc`: how probable it is that a right answer has more of it than a wrong one; None without
    both kinds. `ece`: the mean distance of confidence and share right, over ten bins; `brier`: the
    mean squared distance of confidence and 0 or 1. Of these two, lower is better.
    """

    auroc: float | None
    ece: float
    brier: float
    bins: tuple[Bin, ...]
    shares: tuple[Share, ...]


def report(
    confidences: ArrayLike, right: Sequence[bool], lowest: ArrayLike | None = None
) -> Report:
    """All figures of some answers; `lowest` is what decides about a hand-off, where that is not
    their confidence."""
    p, y = np.asarray(confidences, np.float64), np.asarray(right, np.bool_)
    decides = p if lowest is None else np.asarray(lowest, np.float64)
    bins = _bins(p, y)
    ece = sum(each.count * abs(each.confidence - each.right) for each in bins) / len(p)
    shares = []
    for threshold in THRESHOLDS:
        kept = decides >= threshold
        shares.append(
            Share(threshold, 1 - float(kept.mean()), float(y[kept].mean()) if kept.any() else None)
        )
    return Report(_auroc(p, y), ece, float(((p - y) ** 2).mean()), bins, tuple(shares))


def _bins(p: np.ndarray, y: np.ndarray) -> tuple[Bin, ...]:
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    found = []
    for n in range(BINS):
        here = place == n
        if here.any():
            mean, share = float(p[here].mean()), float(y[here].mean())
            found.append(Bin(n / BINS, (n + 1) / BINS, int(here.sum()), mean, share))
    return tuple(found)


def _auroc(p: np.ndarray, y: np.ndarray) -> float | None:
    """By the sum of ranks (Mann and Whitney 1947); equal ones share theirs."""
    good, bad = int(y.sum()), int((~y).sum())
    if not good or not bad:
        return None
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place][y].sum() - good * (good + 1) / 2) / (good * bad))
