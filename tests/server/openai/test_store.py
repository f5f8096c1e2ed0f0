"""What is kept of responses, within a budget for each key."""

from __future__ import annotations

import tracemalloc

import pytest

from cactus.server.endpoint import encode
from cactus.server.errors import ApiError
from cactus.server.openai.responses.items import items_of
from cactus.server.openai.responses.store import Store


def kept(store: Store, tenant: str | None, id: str, text: str = "x") -> None:
    store.keep(tenant, id, b'{"output":[]}', items_of(text))


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
        assert store.items(tenant, {item}) == {}
        with pytest.raises(ApiError):
            store.delete(tenant, "resp_1")
    for n in range(20):
        kept(store, "b", f"resp_{n}")
    assert store.items("a", {item})[item]["content"] == "x"


def test_room_that_is_given_back_is_used() -> None:
    store = Store(budget=300)
    kept(store, None, "resp_1", "x" * 100)
    store.delete(None, "resp_1")
    kept(store, None, "resp_2", "x" * 100)
    assert store.get(None, "resp_2") is not None
    with pytest.raises(ApiError) as gone:
        store.find(None, "resp_1")
    assert gone.value.status == 404


def test_what_is_kept_takes_the_room_that_is_counted() -> None:
    """Small items are many times as large as objects."""
    store = Store()
    items = items_of([{"role": "user", "content": "x"}] * 20_000)
    made = {"type": "message", "id": "msg_out", "role": "assistant", "content": "y" * 400_000}
    tracemalloc.start()
    try:
        store.keep(None, "resp_1", encode({"output": [made]}), items)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    kept = store.find(None, "resp_1")
    assert taken < kept.size + 4096
    assert kept.input == items and kept.items == [*items, made]


def test_items_are_found_wherever_they_are() -> None:
    store = Store()
    given, made = items_of("first")[0], {"type": "message", "id": "msg_out", "content": "second"}
    store.keep("a", "resp_1", encode({"output": [made]}), [given])
    kept(store, "a", "resp_2")
    wanted = {given["id"], "msg_out", "msg_unknown"}
    assert store.items("a", wanted) == {given["id"]: given, "msg_out": made}
    newer = {**made, "content": "third"}
    store.keep("a", "resp_3", encode({"output": []}), [newer])
    assert store.items("a", wanted)["msg_out"] == newer
