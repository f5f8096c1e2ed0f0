"""Responses that are kept in memory, so that a later one may go on from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import msgspec

from cactus.inputs.checks import short
from cactus.server.endpoint import encode
from cactus.server.errors import ApiError
from cactus.server.openai.responses.items import Item
from cactus.server.service import Service

BUDGET = 64 << 20
"""Bytes for each key, of responses with all that they were made from. They are kept as JSON."""


class _Output(msgspec.Struct):
    output: list[Item]


class _Named(msgspec.Struct):
    id: str


class _NamedOutput(msgspec.Struct):
    output: list[_Named]


@dataclass(frozen=True, slots=True)
class Kept:
    """A response as it was sent, and the items that it was made from, as JSON."""

    reply: bytes
    made_from: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.reply) + len(self.made_from)

    @property
    def input(self) -> list[Item]:
        """The items that it was made from."""
        return msgspec.json.decode(self.made_from, type=list[Item])

    @property
    def items(self) -> list[Item]:
        """The whole conversation."""
        return [*self.input, *msgspec.json.decode(self.reply, type=_Output).output]

    def has(self, ids: Collection[str]) -> bool:
        """Whether one of its items is among these."""
        named = msgspec.json.decode(self.made_from, type=list[_Named])
        named += msgspec.json.decode(self.reply, type=_NamedOutput).output
        return any(each.id in ids for each in named)


class Store:
    """What is kept for each key; what was kept first goes first where there is no room."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._kept: dict[str | None, OrderedDict[str, Kept]] = {}
        self._sizes: dict[str | None, int] = {}

    def keep(self, tenant: str | None, id: str, reply: bytes, items: Sequence[Item]) -> None:
        """Keep a response and what it was made from; not where it is larger than all the room."""
        kept = Kept(_exact(reply), _exact(encode(items)))
        if kept.size > self._budget:
            return
        mine = self._kept.setdefault(tenant, OrderedDict())
        self._sizes[tenant] = self._sizes.get(tenant, 0) + kept.size
        while self._sizes[tenant] > self._budget:
            self._sizes[tenant] -= mine.popitem(last=False)[1].size
        mine[id] = kept

    def get(self, tenant: str | None, id: str) -> Kept | None:
        """A response of this key."""
        return self._kept.get(tenant, OrderedDict()).get(id)

    def find(self, tenant: str | None, id: str) -> Kept:
        """The same. Raises ApiError 404."""
        found = self.get(tenant, id)
        if found is None:
            raise ApiError(
                404,
                f"there is no response {short(id)}: it was not stored, was deleted, or had to go "
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

    def items(self, tenant: str | None, ids: set[str]) -> dict[str, Item]:
        """Those of these items that responses of this key have, the newest of each."""
        found: dict[str, Item] = {}
        for kept in reversed(self._kept.get(tenant, OrderedDict()).values()):
            wanted = ids - found.keys()
            if not wanted:
                break
            if kept.has(wanted):
                found |= {item["id"]: item for item in kept.items if item["id"] in wanted}
        return found


def _exact(data: bytes) -> bytes:
    """The same, without the room at its end that what has been encoded holds unseen."""
    return bytes(memoryview(data))


_stores: WeakKeyDictionary[Service, Store] = WeakKeyDictionary()


def store_of(service: Service) -> Store:
    """The responses that a server keeps; they end with it."""
    found = _stores.get(service)
    if found is None:
        found = _stores[service] = Store()
    return found
