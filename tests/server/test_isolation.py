"""What a request leaves in the cache, and who may find it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.running import Running, serving

KEYS = ("key-of-one-user", "key-of-another")
CHAT = {"messages": [{"role": "user", "content": "a long beginning " * 10}], "max_tokens": 2}


def cached(server: Running, key: str) -> int:
    """How many tokens of a prompt had been read before."""
    reply = server.ask("POST", "/v1/chat/completions", json=CHAT, headers={"X-Api-Key": key})
    assert reply.status_code == 200
    return int(reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


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
