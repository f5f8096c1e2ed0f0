"""How long a model stays in memory, where a request says it (`keep_alive`)."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from cactus.server.endpoint import Ask
from cactus.server.models import Served
from cactus.server.params import invalid

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(keep_alive: float | str | None) -> float | None:
    """How long a model is kept: inf for ever, 0 not at all, None as usual. Raises ApiError."""
    if keep_alive is None or keep_alive == "":
        return None
    value = _duration(keep_alive) if isinstance(keep_alive, str) else float(keep_alive)
    return math.inf if value < 0 else value


def _duration(text: str) -> float:
    """Seconds, or a time as Go writes it: "5m", "1h30m", "-1"."""
    body = text.lstrip("+-")
    parts = _DURATION.findall(body)
    if parts and "".join(number + unit for number, unit in parts) == body:
        value = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return -value if text.startswith("-") else value
    if re.fullmatch(r"[+-]?\d{1,12}", text):
        return float(text)
    raise invalid(f'expected seconds or a time such as "5m", got {text!r:.40}', "keep_alive")


async def keep_loaded(ask: Ask[Any]) -> None:
    """Keep the model that was asked for as long as the request says."""
    keep = seconds(ask.body.keep_alive)
    served = None if keep is None else ask.service.named(ask.body.model)
    if served is None or keep is None:
        return
    if keep == 0:
        await ask.service.models.unload(served)
    else:
        served.keep = keep


def seconds_left(served: Served, usual: float | None) -> float | None:
    """How long it stays if nobody asks for it; None: until others need its room."""
    keep = usual if served.keep is None else served.keep
    if keep is None or math.isinf(keep):
        return None
    return keep if served.users else max(0.0, keep - (time.monotonic() - served.used))
