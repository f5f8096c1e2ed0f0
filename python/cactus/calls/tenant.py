"""On whose behalf calls are made, where several share one model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str | None] = ContextVar("cactus_tenant", default=None)


def current_tenant() -> str | None:
    """Who the calls are made for that begin here; None: nobody in particular."""
    return _current.get()


@contextmanager
def acting_for(tenant: str | None) -> Iterator[None]:
    """Calls that begin within, in this task or thread, are made for `tenant`.

    Tenants take turns where not all can be worked for at once, whatever the number of their calls.
    What is remembered of the prompts of one is used for no other; of those that are made for nobody
    in particular, it is shared among them.
    """
    token = _current.set(tenant)
    try:
        yield
    finally:
        _current.reset(token)
