"""Responses that are kept in memory, so that a later one may go on from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import msgspec

from cactus.server.errors import ApiError
from cactus.server.openai.responses.items import Item
from cactus.server.service import Service

BUDGET = 64 << 20
"""Bytes for each key, of responses as JSON with all that they were made from."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A response as it was sent, with the items that it was made from and those that it gave."""

    reply: bytes
    input: Sequence[Item]
    output: Sequence[Item]
    size: int

    @property
    def items(self) -> list[Item]:
        """The whole conversation."""
        return [*self.input, *self.output]


class Store:
    """What is kept for each key; what was kept first goes first where there is no room."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._kept: dict[str | None, OrderedDict[str, Kept]] = {}
        self._sizes: dict[str | None, int] = {}

    def keep(
        self,
        tenant: str | None,
        id: str,
        reply: bytes,
        input: Sequence[Item],
        output: Sequence[Item],
    ) -> None:
        """Keep a response; not where it is larger than all the room that there is."""
        size = len(reply) + len(msgspec.json.encode(input)) + len(msgspec.json.encode(output))
        if size > self._budget:
            return
        mine = self._kept.setdefault(tenant, OrderedDict())
        self._sizes[tenant] = self._sizes.get(tenant, 0) + size
        while self._sizes[tenant] > self._budget:
            self._sizes[tenant] -= mine.popitem(last=False)[1].size
        mine[id] = Kept(reply, list(input), list(output), size)

    def get(self, tenant: str | None, id: str) -> Kept | None:
        """A response of this key."""
        return self._kept.get(tenant, OrderedDict()).get(id)

    def find(self, tenant: str | None, id: str) -> Kept:
        """The same. Raises ApiError 404."""
        found = self.get(tenant, id)
        if found is None:
            raise ApiError(
                404,
                f"there is no response {id!r:.100}: it was not stored, was deleted, or had to go "
                "because others needed the room",
                code="not_found",
                param="response_id",
            )
        return found

    def delete(self, tenant: str | None, id: str) -> None:
        """Forget a response. Raises ApiError 404."""
        found = self.find(tenant, id)
        del self._kept[tenant][id]
        self._sizes[tenant] -= found.size

    def item(self, tenant: str | None, id: str) -> Item | None:
        """An item of a response of this key."""
        for kept in reversed(self._kept.get(tenant, OrderedDict()).values()):
            for item in kept.items:
                if item["id"] == id:
                    return item
        return None


_stores: WeakKeyDictionary[Service, Store] = WeakKeyDictionary()


def store_of(service: Service) -> Store:
    """The responses that a server keeps; they end with it."""
    found = _stores.get(service)
    if found is None:
        found = _stores[service] = Store()
    return found
