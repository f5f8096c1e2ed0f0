"""On whose behalf calls are made, where several share one model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Tenant(NamedTuple):
    """Who calls are made for; with `key` None, nobody in particular.

    Tenants take turns where not all can be worked for at once, whatever the number of their calls.
    """

    key: str | None = None
    apart: bool = False

    @property
    def memory(self) -> str | None:
        """Whose memory its prompts are in: its own, if that is `apart`, or the common one, None."""
        return self.key if self.apart else None


NOBODY = Tenant()

_current: ContextVar[Tenant] = ContextVar("cactus_tenant", default=NOBODY)


def current_tenant() -> Tenant:
    """Who the calls are made for that begin here."""
    return _current.get()


@contextmanager
def acting_for(key: str | None, *, apart: bool = True) -> Iterator[None]:
    """Calls that begin within, in this task or thread, are made for the tenant of that key.

    `apart`: what is remembered of its prompts is used for no other. Else it is shared with those
    that are not apart either.
    """
    token = _current.set(Tenant(key, apart))
    try:
        yield
    finally:
        _current.reset(token)
