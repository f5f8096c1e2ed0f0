"""Who may begin now, who waits, and who is told to come again.

A place is for one answer: a request that is let in has one, and takes further ones while they
are free. All answers share the engine's steps, which are fair among them. What is bounded here is
how many there are, and how much waits for them: a queue without an end helps nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cactus.server.current import Current
from cactus.server.errors import ApiError


@dataclass(eq=False)
class _Place:
    """A place in the queue."""

    tenant: str | None
    tokens: int
    turn: asyncio.Future[None]


class Admission:
    """So many answers at a time; behind them a queue that is bounded in requests and in tokens.

    Of those that wait, the next is one of the key that has the fewest running. `speed` is how many
    tokens of prompts are read in a second: by it a client that is sent away is told when to come
    again.
    """

    def __init__(self, running: int, waiting: int, tokens: int, speed: Callable[[], float]) -> None:
        self._most, self._places, self._tokens, self._speed = running, waiting, tokens, speed
        self._queue: list[_Place] = []
        self._running: Counter[str | None] = Counter()
        self.refused = 0

    @property
    def running(self) -> int:
        """Places that are taken."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def waiting_tokens(self) -> int:
        """Tokens of their prompts, about."""
        return sum(place.tokens for place in self._queue)

    def of(self, tenant: str | None) -> tuple[int, int]:
        """How many places a key has, and how many of its requests wait."""
        return self._running[tenant], sum(place.tenant == tenant for place in self._queue)

    @asynccontextmanager
    async def enter(self, current: Current, limit: int | None = None) -> AsyncIterator[None]:
        """Wait for a place among those that run, and have it. Raises ApiError 429 and 503.

        A prompt has no more tokens than `limit`: a longer one is refused when its turn comes.
        """
        if current.places is not None:  # it uses a second model
            yield
            return
        tokens = current.tokens if limit is None else min(current.tokens, limit)
        if self._queue or self.running >= self._most:
            await self._wait(current.tenant, tokens)
        else:
            self._running[current.tenant] += 1
        current.places = self
        try:
            yield
        finally:
            current.places = None
            self.give_back(current.tenant)

    def take(self, tenant: str | None) -> bool:
        """A further place for a request that has one; false where none is free, or others wait."""
        if self._queue or self.running >= self._most:
            return False
        self._running[tenant] += 1
        return True

    def give_back(self, tenant: str | None) -> None:
        """A place is free."""
        self._running[tenant] -= 1
        self._running += Counter()  # forgets those that have none
        self._next()

    async def _wait(self, tenant: str | None, tokens: int) -> None:
        self._check(tenant, tokens)
        place = _Place(tenant, tokens, asyncio.get_running_loop().create_future())
        self._queue.append(place)
        try:
            await place.turn
        except asyncio.CancelledError:
            if not place.turn.cancelled():  # its turn has come at the same moment
                self.give_back(tenant)
            elif place in self._queue:
                self._queue.remove(place)
            raise

    def _check(self, tenant: str | None, tokens: int) -> None:
        """Raises ApiError where the queue has no room."""
        seconds = min(60, max(1, round(self.waiting_tokens / max(self._speed(), 1.0))))
        if len(self._queue) >= self._places:
            self.refused += 1
            raise ApiError(
                503,
                f"{len(self._queue)} requests wait already; try again in {seconds} seconds",
                code="overloaded",
                retry_after=seconds,
            )
        _, own = self.of(tenant)
        if tenant is not None and own >= max(1, self._places // 2):
            self.refused += 1
            raise ApiError(
                429,
                f"{own} requests of this key wait already; try again in {seconds} seconds",
                code="rate_limit_exceeded",
                retry_after=seconds,
            )
        if self._queue and self.waiting_tokens + tokens > self._tokens:
            self.refused += 1
            raise ApiError(
                429,
                f"prompts of about {self.waiting_tokens} tokens wait already; try again in "
                f"{seconds} seconds",
                code="rate_limit_exceeded",
                retry_after=seconds,
            )

    def _next(self) -> None:
        while self._queue and self.running < self._most:
            place = min(self._queue, key=lambda one: self._running[one.tenant])
            self._queue.remove(place)
            if place.turn.done():  # it leaves just now
                continue
            self._running[place.tenant] += 1
            place.turn.set_result(None)
