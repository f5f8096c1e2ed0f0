"""Who may open a session: the key in a header or a sub-protocol, the page that asks, the host."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cactus.server import short_keys
from tests.server.openai.clients import client
from tests.server.openai.spec import check
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


SESSION: Any = {
    "type": "transcription",
    "audio": {"input": {"turn_detection": None, "transcription": {"language": "de"}}},
}


def test_a_secret_opens_sessions_as_they_were_described(locked: Running) -> None:
    made = client(locked.url, key=KEY).realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 60}, session=SESSION
    )
    check("RealtimeCreateClientSecretResponse", made.to_dict())
    assert made.value.startswith("ek_") and made.session.type == "transcription"
    assert 0 <= made.expires_at - time.time() <= 60
    address = locked.url.replace("http", "ws") + "/v1/realtime"
    protocols = ["realtime", f"openai-insecure-api-key.{made.value}"]
    for _ in range(2):
        with connect(address, subprotocols=protocols) as socket:  # type: ignore[arg-type]
            heard = json.loads(socket.recv(timeout=60))["session"]["audio"]["input"]
        assert heard["turn_detection"] is None and heard["transcription"]["language"] == "de"


def test_a_secret_opens_nothing_but_sessions(locked: Running) -> None:
    value = client(locked.url, key=KEY).realtime.client_secrets.create(session=SESSION).value
    mine = {"Authorization": f"Bearer {value}"}
    assert locked.ask("GET", "/v1/models", headers=mine).status_code == 401
    more = locked.ask("POST", "/v1/realtime/client_secrets", json={}, headers=mine)
    assert more.status_code == 401
    assert opened(locked, additional_headers=mine) == ("session.created", None)


def test_a_secret_ends_and_nobody_has_too_many(
    locked: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(seconds: int) -> Any:
        body = {"expires_after": {"seconds": seconds}}
        headers = {"X-Api-Key": KEY}
        return locked.ask("POST", "/v1/realtime/client_secrets", json=body, headers=headers)

    now = short_keys.monotonic()
    monkeypatch.setattr(short_keys, "monotonic", lambda: now)
    monkeypatch.setattr(locked.service, "short_keys", short_keys.ShortKeys())
    shown = {"additional_headers": {"X-Api-Key": make(10).json()["value"]}}
    assert opened(locked, **shown) == ("session.created", None)
    monkeypatch.setattr(short_keys, "MOST", 2)
    assert [make(100).status_code for _ in range(2)] == [200, 429]
    now += 10
    with pytest.raises(InvalidStatus) as refused:
        opened(locked, **shown)
    assert refused.value.response.status_code == 401
    refused_more = make(100)
    assert refused_more.status_code == 200  # for the first has ended
    assert make(100).headers["retry-after"] == "91"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "later"}}, "expires_after.anchor"),
        ({"session": {"type": "realtime"}}, "session.type"),
        (
            {"session": {"audio": {"input": {"transcription": {"language": "qq"}}}}},
            "session.audio.input.transcription.language",
        ),
    ],
)
def test_a_secret_of_no_use_is_refused(locked: Running, body: Any, param: str) -> None:
    headers = {"X-Api-Key": KEY}
    reply = locked.ask("POST", "/v1/realtime/client_secrets", json=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
