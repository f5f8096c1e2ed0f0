"""Sizes and times as people write them: 4GB, 50%, 30s, 5m."""

from __future__ import annotations

import math
import re
from typing import Any

import click

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "k": 2**10, "m": 2**20, "g": 2**30}  # fmt: skip
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?)\s*([a-z%]*)", re.I)


class Size(click.ParamType[int]):
    """Bytes; a share of the machine's memory where `share` says so."""

    name = "size"

    def __init__(self, share: bool = False) -> None:
        self._share = share

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes that a text stands for."""
        if isinstance(value, int):
            return value
        found = _NUMBER.fullmatch(str(value).strip())
        if found is not None and found[2].lower() in _SIZES:
            return int(float(found[1]) * _SIZES[found[2].lower()])
        if found is not None and found[2] == "%" and self._share and float(found[1]) <= 100:
            from cactus.machine import memory_bytes

            most = memory_bytes()
            if most is None:
                self.fail("this system does not say how much memory it has", param, ctx)
            return int(most * float(found[1]) / 100)
        shares = ", 50%" if self._share else ""
        self.fail(f"must be a size such as 500MB, 4GB{shares}; got {value!r}", param, ctx)


class Duration(click.ParamType[float]):
    """Seconds; `forever` where that may be."""

    name = "time"

    def __init__(self, forever: bool = False) -> None:
        self._forever = forever

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that a text stands for."""
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        if text == "forever" and self._forever:
            return math.inf
        found = _NUMBER.fullmatch(text)
        if found is not None and found[2] in _SECONDS:
            return float(found[1]) * _SECONDS[found[2]]
        ever = " or 'forever'" if self._forever else ""
        self.fail(f"must be a time such as 30s, 5m, 1h{ever}; got {value!r}", param, ctx)
