"""Keys that end by themselves: a page may have one, since it opens WebSockets and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes, token_urlsafe
from time import monotonic
from typing import Any

from cactus.server.errors import ApiError

MOST = 1000
"""Of one key at a time."""


@dataclass(frozen=True)
class ShortKey:
    """Whose it is, what the session is like that it opens, and when (``monotonic``) it ends."""

    tenant: str | None
    session: Any
    ends: float


class ShortKeys:
    """Those that have not ended, by their digests."""

    def __init__(self) -> None:
        self._secret = token_bytes(32)
        self._known: dict[bytes, ShortKey] = {}

    def make(self, tenant: str | None, session: Any, seconds: int) -> tuple[str, int]:
        """A new one, and when it ends as seconds since 1970. Raises ApiError for one too many."""
        now = monotonic()
        self._known = {digest: key for digest, key in self._known.items() if key.ends > now}
        own = sorted(key.ends for key in self._known.values() if key.tenant == tenant)
        if len(own) >= MOST:
            raise ApiError(
                429,
                f"{len(own)} secrets of this key have not ended yet",
                code="rate_limit_exceeded",
                retry_after=int(own[0] - now) + 1,
            )
        value = f"ek_{token_urlsafe(32)}"
        self._known[self._digest(value)] = ShortKey(tenant, session, now + seconds)
        return value, int(time.time()) + seconds

    def find(self, given: Iterable[str]) -> ShortKey | None:
        """The one that is among these keys, if any."""
        found = (self._known.get(self._digest(key)) for key in given)
        return next((key for key in found if key is not None and key.ends > monotonic()), None)

    def _digest(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "surrogateescape"), key=self._secret).digest()
