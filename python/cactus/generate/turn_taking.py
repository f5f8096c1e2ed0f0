"""Whose turn it is to read: first between tenants, then between the requests of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

TURN = 64
"""Rows of one turn: a few long pieces cost less than many short ones, for each reads its own past
again."""


class Reading(Protocol):
    """A request that has something to read; it is equal to itself only."""

    @property
    def tenant(self) -> str | None: ...


R = TypeVar("R", bound=Reading)


class TurnTaking:
    """Gives the next turn to whoever has read least: the tenant, then the request of that.

    A new one begins with the count of the one that has read least. So a short prompt soon has its
    turn, and each that comes later overtakes a long one only once.
    """

    def __init__(self) -> None:
        self._tenants: dict[Any, int] = {}
        self._requests: dict[Any, int] = {}

    def share(self, room: int, left: Mapping[R, int]) -> dict[R, int]:
        """The rows of a step that each gets, of those that it has `left`."""
        tenant = {one: one.tenant for one in left}
        tenants = self._tenants = _present(self._tenants, dict.fromkeys(tenant.values()))
        requests = self._requests = _present(self._requests, tenant)
        given: dict[R, int] = {}
        rest = {one: rows for one, rows in left.items() if rows > 0}
        while room > 0 and rest:
            one = min(rest, key=lambda one: (tenants[tenant[one]], requests[one]))
            rows = min(room, TURN, rest[one])
            given[one] = given.get(one, 0) + rows
            tenants[tenant[one]] += rows
            requests[one] += rows
            room -= rows
            rest[one] -= rows
            if not rest[one]:
                del rest[one]
        return given


def _present(counts: Mapping[Any, int], present: Mapping[Any, Any]) -> dict[Any, int]:
    """The counts of those in `present`, which gives the group of each.

    One that has no count yet gets the least of its group.
    """
    least: dict[Any, int] = {}
    for one, group in present.items():
        if one in counts:
            least[group] = min(counts[one], least.get(group, counts[one]))
    return {one: counts.get(one, least.get(group, 0)) for one, group in present.items()}
