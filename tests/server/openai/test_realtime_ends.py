"""How a session ends that its client does not end: for silence, or with the server."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cactus.speech.live import LiveTranscription
from tests.server.running import PATIENCE, Running, serving

COMPLETED = "conversation.item.input_audio_transcription.completed"
SOUND = base64.b64encode(bytes(range(256)) * 375).decode()
"""Two seconds at 24 kHz."""


@contextmanager
def session(running: Running, **options: Any) -> Iterator[ClientConnection]:
    """A session in which only a commit ends a turn."""
    address = running.url.replace("http", "ws") + "/v1/realtime?intent=transcription"
    with connect(address, open_timeout=PATIENCE, **options) as it:
        heard = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        send(it, "session.update", session=heard)
        until(it, "session.updated")
        yield it


def send(it: ClientConnection, type: str, **fields: Any) -> None:
    it.send(json.dumps({"type": type, **fields}))


def until(it: ClientConnection, type: str) -> Any:
    """The next event of a type; an error is no other."""
    while True:
        event = json.loads(it.recv(timeout=PATIENCE))
        if event["type"] == type:
            return event
        assert event["type"] != "error", event


def speak(it: ClientConnection) -> None:
    """Begin a turn, and wait until it is taken."""
    send(it, "input_audio_buffer.append", audio=SOUND)
    send(it, "session.update", session={"type": "transcription"})
    until(it, "session.updated")


def ending(it: ClientConnection) -> tuple[str, int | None]:
    """The code of the error that ends it, and that of its close."""
    code = until(it, "error")["error"]["code"]
    with pytest.raises(ConnectionClosed) as closed:
        it.recv(timeout=PATIENCE)
    return code, closed.value.rcvd.code if closed.value.rcvd else None


def test_one_that_says_nothing_is_told_and_gives_its_place(speech_folder: Path) -> None:
    with serving(speech_folder, max_sockets=1, socket_seconds=0.5) as running:
        with session(running) as it:
            assert ending(it) == ("session_expired", 1008)
        with session(running) as it:
            speak(it)
            send(it, "input_audio_buffer.commit")
            assert until(it, COMPLETED)
            assert ending(it) == ("session_expired", 1008)


def test_one_that_is_worked_for_is_not_silent(
    speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, feed = threading.Event(), LiveTranscription.feed

    def slow(live: LiveTranscription, *given: Any) -> Any:
        goes_on.wait(PATIENCE)
        return feed(live, *given)

    monkeypatch.setattr(LiveTranscription, "feed", slow)
    with serving(speech_folder, socket_seconds=0.5) as running, session(running) as it:
        speak(it)
        send(it, "input_audio_buffer.commit")
        until(it, "conversation.item.done")
        with pytest.raises(TimeoutError):
            it.recv(timeout=2)
        goes_on.set()
        assert until(it, COMPLETED)


def test_a_key_has_half_of_the_places(speech_folder: Path) -> None:
    keys = ("the-first-of-two-keys", "the-other-of-two-keys")
    mine, others = ({"additional_headers": {"X-Api-Key": key}} for key in keys)
    with serving(speech_folder, keys=keys, max_sockets=4) as running, ExitStack() as stack:
        for options in (mine, mine):
            stack.enter_context(session(running, **options))
        assert refused(running, mine) == (429, "rate_limit_exceeded")
        for options in (others, others):
            stack.enter_context(session(running, **options))
        assert refused(running, others) == (503, "overloaded")


def refused(running: Running, options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught, session(running, **options):
        pass
    reply = caught.value.response
    assert reply.body is not None and int(reply.headers["retry-after"]) > 0
    return reply.status_code, json.loads(reply.body)["error"]["code"]


def test_a_server_that_ends_waits_for_what_was_said(speech_folder: Path) -> None:
    with serving(speech_folder) as running, session(running) as silent, session(running) as it:
        speak(it)
        assert running.ask("POST", "/cactus/stop", json={}).status_code == 200
        assert ending(silent) == ("shutting_down", 1001)
        with pytest.raises(InvalidStatus), session(running):
            pass
        send(it, "input_audio_buffer.commit")
        assert until(it, COMPLETED)
        assert ending(it) == ("shutting_down", 1001)


def test_one_that_does_not_come_to_an_end_is_told_when_the_time_is_over(
    speech_folder: Path,
) -> None:
    with serving(speech_folder, drain_seconds=0.5) as running, session(running) as it:
        speak(it)
        assert running.ask("POST", "/cactus/stop", json={}).status_code == 200
        assert ending(it) == ("shutting_down", 1001)
