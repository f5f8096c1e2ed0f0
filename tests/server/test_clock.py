"""A clock that is set back, or far ahead, while a server works."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.server.running import serving

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


@pytest.mark.fault("F64")
@pytest.mark.parametrize("ahead", [-1e9, 1e9])
def test_answers_and_durations_do_not_notice(
    tiny_model: Path, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tiny_model, keep_seconds=60.0) as server:
        want = server.ask("POST", "/v1/chat/completions", json=CHAT).json()["choices"]
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + ahead)
        assert server.ask("POST", "/v1/chat/completions", json=CHAT).json()["choices"] == want
        running = server.ask("GET", "/cactus/running").json()
        assert 0 <= running["uptime_seconds"] < 1e6
        told = server.ask("POST", "/api/chat", json={**CHAT, "model": "tiny", "stream": False})
        assert 0 <= told.json()["total_duration"] < 1e15
        assert server.ask("GET", "/api/ps").json()["models"]  # it was not let go for its age
