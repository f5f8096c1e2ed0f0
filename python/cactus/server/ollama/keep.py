"""How long a model stays in memory, where a request says it (`keep_alive`)."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cactus.inputs.checks import short
from cactus.model import Model
from cactus.server.endpoint import Ask
from cactus.server.params import invalid

MAX_SECONDS = 100 * 365 * 86_400
"""What is longer is for ever: no calendar has its end."""

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(keep_alive: float | str | None) -> float | None:
    """How long a model is kept: inf for ever, 0 not at all, None as usual. Raises ApiError."""
    if keep_alive is None or keep_alive == "":
        return None
    value = _duration(keep_alive) if isinstance(keep_alive, str) else float(keep_alive)
    return value if 0 <= value <= MAX_SECONDS else math.inf


def _duration(text: str) -> float:
    """Seconds, or a time as Go writes it: "5m", "1h30m", "-1"."""
    body = text.lstrip("+-")
    parts = _DURATION.findall(body)
    if parts and "".join(number + unit for number, unit in parts) == body:
        value = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return -value if text.startswith("-") else value
    if re.fullmatch(r"[+-]?\d{1,12}", text):
        return float(text)
    raise invalid(f'expected seconds or a time such as "5m", got {short(text)}', "keep_alive")


@asynccontextmanager
async def using(ask: Ask[Any], ability: str) -> AsyncIterator[Model]:
    """The loaded model that was asked for, as `Service.use` gives it.

    It stays in memory for as long as the request says, also where that fails or its client leaves.
    """
    keep = seconds(ask.body.keep_alive)
    served = ask.service.find(ask.body.model, ability)
    async with ask.service.use(ask.body.model, ability) as model:
        if keep is not None:
            served.keep = keep
        yield model
    if served.keep == 0:  # nobody has said otherwise since
        await ask.service.models.unload(served)
