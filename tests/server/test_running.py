"""The server answers, and leaves nothing behind when it ends."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.server.running import Running, serving


def test_a_chat_is_answered(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    reply = server.ask("POST", "/v1/chat/completions", json=body)
    assert reply.status_code == 200
    assert reply.json()["usage"]["completion_tokens"] == 3


def test_a_server_that_has_ended_does_not_listen(tiny_model: Path) -> None:
    with serving(tiny_model) as running:
        assert running.ask("GET", "/v1/models").json()["data"][0]["id"] == "tiny"
        served = running.service.served
    assert [one.model for one in served] == [None]
    with pytest.raises(httpx.ConnectError):
        running.ask("GET", "/v1/models")
