"""What a request leaves in the cache, and who may find it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cactus.generate.batch import Batch
from cactus.generate.lane import Lane
from tests.server.running import Running, serving

KEYS = ("key-of-one-user", "key-of-another")
CHAT = {"messages": [{"role": "user", "content": "a long beginning " * 10}], "max_tokens": 2}


def cached(server: Running, key: str) -> int:
    """How many tokens of a prompt had been read before."""
    reply = server.ask("POST", "/v1/chat/completions", json=CHAT, headers={"X-Api-Key": key})
    assert reply.status_code == 200
    return int(reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


@pytest.mark.fault("F84")
@pytest.mark.parametrize("isolate", [False, True])
def test_prompts_are_remembered_for_all_keys_or_for_each_apart(
    tiny_model: Path, isolate: bool
) -> None:
    with serving(tiny_model, keys=KEYS, isolate_keys=isolate) as server:
        assert cached(server, KEYS[0]) == 0
        assert cached(server, KEYS[0]) > 0
        other = cached(server, KEYS[1])
        assert (other == 0) is isolate
        assert cached(server, KEYS[1]) > 0


@pytest.mark.fault("F61")
@pytest.mark.parametrize("isolate", [False, True])
def test_keys_take_turns_in_the_batch_whether_they_are_isolated_or_not(
    tiny_model: Path, isolate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    join = Batch.join

    def joined(batch: Batch, lane: Lane) -> None:
        seen.append(lane.tenant)
        join(batch, lane)

    monkeypatch.setattr(Batch, "join", joined)
    with serving(tiny_model, keys=KEYS, isolate_keys=isolate) as server:
        for key in (*KEYS, *KEYS):
            cached(server, key)
    first, second = seen[:2]
    assert seen == [first, second] * 2
    assert first != second and None not in seen
