"""Who may open a session: the key in a header or a sub-protocol, the page that asks, the host."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.server.running import Running, serving, until

KEY = "a-long-secret-key"
PACKED = urlsafe_b64encode(KEY.encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
def locked(speech_folder: Path) -> Iterator[Running]:
    with serving(speech_folder, keys=(KEY,)) as running:
        yield running


def opened(running: Running, **options: Any) -> Any:
    """The first event, and the sub-protocol."""
    address = running.url.replace("http", "ws") + "/v1/realtime?intent=transcription"
    with connect(address, **options) as socket:
        return json.loads(socket.recv(timeout=60))["type"], socket.subprotocol


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"additional_headers": {"Authorization": f"Bearer {KEY}"}}, None),
        ({"additional_headers": {"X-Api-Key": KEY}}, None),
        ({"subprotocols": ["realtime", f"openai-insecure-api-key.{KEY}"]}, "realtime"),
        ({"subprotocols": [f"cactus-key.{PACKED}", "realtime"]}, "realtime"),
        ({"subprotocols": [f"cactus-key.{PACKED}"]}, f"cactus-key.{PACKED}"),
    ],
)
def test_a_key_opens_a_session(locked: Running, options: Any, chosen: str | None) -> None:
    assert opened(locked, **options) == ("session.created", chosen)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer a-long-secret-kez"}},
        {"subprotocols": ["realtime", "openai-insecure-api-key.other-key"]},
        {"subprotocols": ["cactus-key.%%%"]},
    ],
)
def test_without_the_key_there_is_none(locked: Running, options: Any) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(locked, **options)
    assert refused.value.response.status_code == 401
    body = refused.value.response.body
    assert body is not None and json.loads(body)["error"]["type"] == "authentication_error"
    assert KEY.encode() not in body


def test_another_page_opens_none(speech_folder: Path) -> None:
    with serving(speech_folder) as running:
        with pytest.raises(InvalidStatus) as refused:
            opened(running, origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403
        with pytest.raises(InvalidStatus) as refused:
            opened(running, additional_headers={"Host": "elsewhere.example"})
        assert refused.value.response.status_code >= 400
        assert opened(running, origin=running.url)[0] == "session.created"


def test_more_sessions_than_there_may_be_are_refused_and_then_taken(speech_folder: Path) -> None:
    with serving(speech_folder, max_sockets=2) as running:
        address = running.url.replace("http", "ws") + "/v1/realtime"
        with connect(address), connect(address):
            with pytest.raises(InvalidStatus) as refused:
                opened(running)
            assert refused.value.response.status_code in (429, 503)

        def taken() -> bool:  # the server need not have seen yet that they have gone
            with suppress(InvalidStatus):
                return bool(opened(running)[0] == "session.created")
            return False

        until(taken)
