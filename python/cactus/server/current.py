"""The request that is being answered, for whoever works for it: who asks, how large, how long."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from cactus.server.errors import ApiError


class Places(Protocol):
    """What lets requests in, and counts how many answers each key has running."""

    def take(self, tenant: str | None) -> bool: ...

    def give_back(self, tenant: str | None) -> None: ...


@dataclass(eq=False)
class Current:
    """One request on its way. `tokens` is about how many its prompt has.

    `places` is what has let it in; None before. `using` is the model that it uses, the first of
    them where it uses two. `deadline` is on the clock of
    ``time.monotonic``. `ended` is set, with what the client is told, where the server ends it.
    """

    id: str = ""
    tenant: str | None = None
    tokens: int = 0
    deadline: float | None = None
    places: Places | None = None
    using: Any = None
    arrived: float = field(default_factory=time.monotonic)
    ended: asyncio.Future[ApiError] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def take(self) -> bool:
        """A further place, for another of its answers; false where there is none for it."""
        return self.places is None or self.places.take(self.tenant)

    def give_back(self) -> None:
        """A further place is not needed any more."""
        if self.places is not None:
            self.places.give_back(self.tenant)

    def end(self, error: ApiError) -> None:
        """Answer it with `error` instead of what it would come to."""
        if not self.ended.done():
            self.ended.set_result(error)

    @property
    def left(self) -> float | None:
        """Seconds to the deadline; None where there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


CURRENT: ContextVar[Current | None] = ContextVar("cactus_request", default=None)
"""Of the task that works; WebSockets, which may live for hours, have none."""

BYTES_A_TOKEN = 4
"""Of a body of JSON, about."""
