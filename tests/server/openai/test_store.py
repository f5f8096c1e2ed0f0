"""What is kept of responses, within a budget for each key."""

from __future__ import annotations

import pytest

from cactus.server.errors import ApiError
from cactus.server.openai.responses.items import items_of
from cactus.server.openai.responses.store import Store


def kept(store: Store, tenant: str | None, id: str, text: str = "x") -> None:
    store.keep(tenant, id, b"{}", items_of(text), [])


def test_the_oldest_goes_where_there_is_no_room() -> None:
    store = Store(budget=1000)
    for n in range(20):
        kept(store, "a", f"resp_{n}")
    assert store.get("a", "resp_0") is None
    assert store.get("a", "resp_19") is not None
    kept(store, "a", "resp_large", "x" * 2000)
    assert store.get("a", "resp_large") is None and store.get("a", "resp_19") is not None


def test_keys_see_nothing_of_each_other() -> None:
    store = Store(budget=1000)
    kept(store, "a", "resp_1")
    item = store.find("a", "resp_1").items[0]["id"]
    for tenant in ("b", None):
        assert store.get(tenant, "resp_1") is None
        assert store.item(tenant, item) is None
        with pytest.raises(ApiError):
            store.delete(tenant, "resp_1")
    for n in range(20):
        kept(store, "b", f"resp_{n}")
    assert store.item("a", item) is not None


def test_room_that_is_given_back_is_used() -> None:
    store = Store(budget=300)
    kept(store, None, "resp_1", "x" * 100)
    store.delete(None, "resp_1")
    kept(store, None, "resp_2", "x" * 100)
    assert store.get(None, "resp_2") is not None
    with pytest.raises(ApiError) as gone:
        store.find(None, "resp_1")
    assert gone.value.status == 404
