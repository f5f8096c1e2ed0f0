"""Probabilities of speech and options, whose segments faster-whisper has computed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

LEVELS = (0.05, 0.2, 0.36, 0.45, 0.55, 0.9)


@dataclass(frozen=True)
class Case:
    """The probabilities of all windows of `length` samples, the last one not full."""

    probabilities: list[float]
    length: int
    options: dict[str, Any]


@cache
def cases(count: int = 250) -> list[Case]:
    """Probabilities that stay a while at one level, and options that cut them up."""
    found = []
    for seed in range(count):
        rng = random.Random(seed)
        windows = rng.randrange(200)
        levels: list[float] = []
        while len(levels) <= windows:
            levels += [rng.choice(LEVELS)] * rng.choice((1, 1, 2, 3, 5, 10, 30, 70))
        probabilities = [level + rng.uniform(-0.03, 0.03) for level in levels[: windows + 1]]
        length = windows * 512 + rng.choice((0, 1, 100, 511))
        options = {
            "threshold": rng.choice((0.5, 0.5, 0.3, 0.8)),
            "neg_threshold": rng.choice((None, None, 0.1, 0.35)),
            "min_speech_duration_ms": rng.choice((0, 0, 100, 250, 1000)),
            "max_speech_duration_s": rng.choice((math.inf, math.inf, 2, 1, 4.5)),
            "min_silence_duration_ms": rng.choice((0, 100, 160, 500, 2000)),
            "speech_pad_ms": rng.choice((0, 0, 30, 200, 400)),
        }
        found.append(Case(probabilities, length, options))
    return found
