"""The best configuration of a peer for a case: a short search, made once for a machine and a build.

One short run for each value that is tried, one setting after the other, from the case's start: a
search along the axes. The winner is what the rounds measure.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from runner import BenchmarkError, cache_folder, processor

Config = Mapping[str, str]
"""A peer's settings by name, such as {"format": "Q4_0", "flash": "on"}."""

How = Literal["once", "again", "known"]
"""Whether to search what is not known, everything, or nothing."""

CLEARLY = 1.02
"""How much faster another value has to be than the one before it."""


@dataclass
class Found:
    """The configuration that was the fastest, and the tokens/s of all that were tried.

    ``calm``: no other program disturbed one of the runs.
    """

    config: dict[str, str]
    tried: dict[str, float] = field(default_factory=dict)
    calm: bool = True


def text(config: Config) -> str:
    """'Q4_0, flash on, cache f16': the format by itself, other values with their setting's name."""
    return ", ".join(
        value if name == "format" else f"{name} {value}" for name, value in config.items()
    )


def along_axes(
    rate: Callable[[Config], tuple[float, bool]],
    start: Config,
    choices: Mapping[str, tuple[str, ...]],
) -> Found:
    """Try every value of one setting after the other; ``rate`` says what one gives, and whether
    nothing disturbed it.

    A configuration that cannot run counts as 0; the start has to run.
    """
    found = Found(dict(start))
    best, found.calm = rate(start)
    found.tried[text(start)] = best
    for name, values in choices.items():
        for value in values:
            config = {**found.config, name: value}
            if text(config) in found.tried:
                continue
            try:
                speed, calm = rate(config)
            except BenchmarkError:
                speed, calm = 0.0, True
            found.calm &= calm
            found.tried[text(config)] = speed
            if speed > best * CLEARLY:
                found.config, best = config, speed
    return found


def remembered(key: list[str], search: Callable[[], Found], how: How, start: Found) -> Found:
    """What a search found before on this machine under ``key``, or finds now.

    "again": whatever is known; "known": without a search, ``start`` where nothing is. What was
    found while others disturbed it is not remembered.
    """
    path = _path()
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    name = " | ".join([processor(), f"{os.cpu_count()} cores", *key])
    if how == "known" and name not in known:
        return start
    if how == "again" or name not in known:
        found = search()
        if not found.calm:
            return found
        known[name] = asdict(found)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(known, indent=1), "utf-8")
        part.replace(path)
    return Found(**known[name])


def _path() -> Path:
    return cache_folder() / "configurations.json"
