"""``/v1/realtime``: what is being said, by OpenAI's client and by hand."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cactus.speech.live import LiveTranscription
from tests.assets import TRANSCRIPTS
from tests.server.openai.clients import client
from tests.server.openai.spec import check
from tests.server.running import Running, serving, until, value_of

NAME = "whisper-base-int8"
TRANSCRIPTION = "conversation.item.input_audio_transcription"
SCHEMAS = {
    "session.created": "RealtimeServerEventSessionCreated",
    "session.updated": "RealtimeServerEventSessionUpdated",
    "error": "RealtimeServerEventError",
    "input_audio_buffer.speech_started": "RealtimeServerEventInputAudioBufferSpeechStarted",
    "input_audio_buffer.speech_stopped": "RealtimeServerEventInputAudioBufferSpeechStopped",
    "input_audio_buffer.committed": "RealtimeServerEventInputAudioBufferCommitted",
    "input_audio_buffer.cleared": "RealtimeServerEventInputAudioBufferCleared",
    "conversation.item.created": "RealtimeServerEventConversationItemCreated",
    "conversation.item.added": "RealtimeServerEventConversationItemAdded",
    "conversation.item.done": "RealtimeServerEventConversationItemDone",
    f"{TRANSCRIPTION}.delta": ("RealtimeServerEventConversationItemInputAudioTranscriptionDelta"),
    f"{TRANSCRIPTION}.completed": (
        "RealtimeServerEventConversationItemInputAudioTranscriptionCompleted"
    ),
    f"{TRANSCRIPTION}.failed": ("RealtimeServerEventConversationItemInputAudioTranscriptionFailed"),
}
STRICT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
MANUAL: dict[str, Any] = {
    "type": "transcription",
    "audio": {"input": {"turn_detection": None}},
}
SHOWING = {**MANUAL, "include": ["item.input_audio_transcription.pending"]}


@pytest.fixture(scope="module")
def running(whisper_base_int8: Path, tiny_model: Path) -> Iterator[Running]:
    with serving(tiny_model, whisper_base_int8) as found:
        yield found


def words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower().replace("mr.", "mister"))


def pcm(file: Path, rate: int = 24_000, silence: float = 0.0) -> bytes:
    """A recording as a client sends it, with silence behind it."""
    samples, own = soundfile.read(file, dtype="float32")
    samples = soxr.resample(samples, own, rate)
    samples = np.concatenate([samples, np.zeros(round(silence * rate), np.float32)])
    return bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


class Talk:
    """A connection whose every event is checked."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, type: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": type, **fields}))

    def append(self, audio: bytes, size: int = 48_000) -> None:
        for start in range(0, len(audio), size):
            piece = base64.b64encode(audio[start : start + size]).decode()
            self.send("input_audio_buffer.append", audio=piece)

    def unchecked(self) -> Any:
        event = json.loads(self.socket.recv(timeout=60))
        assert event["event_id"].startswith("event_")
        return event

    def next(self) -> Any:
        event = self.unchecked()
        if event["type"] in SCHEMAS:
            check(SCHEMAS[event["type"]], event)
            STRICT.validate_python(event)
        return event

    def until(self, *types: str) -> list[Any]:
        """Events up to the first of these types, which is the last of them."""
        found = [self.next()]
        while found[-1]["type"] not in types:
            found.append(self.next())
        return found


@contextmanager
def talk(running: Running, query: str = "intent=transcription", **options: Any) -> Iterator[Talk]:
    address = running.url.replace("http", "ws") + f"/v1/realtime?{query}"
    with connect(address, **options) as socket:
        yield Talk(socket)


@contextmanager
def talking(running: Running, session: Any = MANUAL) -> Iterator[Talk]:
    """A connection whose session is like this already."""
    with talk(running) as it:
        it.next()
        it.send("session.update", session=session)
        assert it.unchecked()["type"] == "session.updated"
        yield it


def types(events: list[Any]) -> list[str]:
    return [each["type"] for each in events]


def test_the_first_event_says_what_the_session_is_like(running: Running) -> None:
    with talk(running) as it:
        created = it.next()
        assert created["type"] == "session.created"
        session = created["session"]
        assert session["type"] == "transcription"
        heard = session["audio"]["input"]
        assert heard["format"] == {"type": "audio/pcm", "rate": 24_000}
        assert heard["transcription"] == {"model": NAME}
        assert heard["turn_detection"]["type"] == "server_vad"


def test_a_commit_writes_down_what_was_said(running: Running, voices: Path) -> None:
    with talk(running) as it:
        it.next()
        it.send("session.update", session=MANUAL)
        assert it.next()["session"]["audio"]["input"]["turn_detection"] is None
        it.append(pcm(voices / "librivox_0880.wav"))
        it.send("input_audio_buffer.commit")
        events = it.until(f"{TRANSCRIPTION}.completed")
        deltas = [each for each in events if each["type"] == f"{TRANSCRIPTION}.delta"]
        done = events[-1]
        assert "".join(each["delta"] for each in deltas) == done["transcript"]
        assert words(done["transcript"]) == words(TRANSCRIPTS["librivox_0880.wav"])
        (item,) = {each["item_id"] for each in events if "item_id" in each}
        assert [each for each in types(events) if not each.startswith(TRANSCRIPTION)] == [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        seconds = soundfile.info(voices / "librivox_0880.wav").duration
        assert done["usage"]["seconds"] == pytest.approx(seconds, abs=0.01)
        # The next turn knows which was before it.
        it.append(pcm(voices / "cards_003.wav"))
        it.send("input_audio_buffer.commit")
        events = it.until(f"{TRANSCRIPTION}.completed")
        committed = next(each for each in events if each["type"].endswith("committed"))
        assert committed["previous_item_id"] == item != committed["item_id"]


def test_the_same_samples_give_what_the_model_gives(
    running: Running, voices: Path, whisper_base_int8: Path
) -> None:
    from cactus import Model

    raw = pcm(voices / "librivox_0880.wav")
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
    resampler = soxr.ResampleStream(24_000, 16_000, 1, dtype="float32", quality="HQ")
    first = resampler.resample_chunk(samples)
    rest = resampler.resample_chunk(samples[:0], last=True)
    with Model(whisper_base_int8, threads=2) as model, model.transcribe_live() as live:
        begins = live.feed(first).pending
        live.feed(rest)
        live.finish()
        expected = live.text
    assert begins
    with talking(running, SHOWING) as it:
        it.append(raw, size=len(raw))
        assert it.next()["pending"] == begins  # all was taken before the commit
        it.send("input_audio_buffer.commit")
        assert it.until(f"{TRANSCRIPTION}.completed")[-1]["transcript"] == expected


def test_silence_ends_a_turn_by_itself(running: Running, voices: Path) -> None:
    with talk(running) as it:
        it.next()
        it.append(pcm(voices / "cards_003.wav", silence=2.0))
        it.append(pcm(voices / "librivox_0880.wav", silence=2.0))
        events: list[Any] = []
        for _ in range(2):
            events += it.until(f"{TRANSCRIPTION}.completed")
        started = [each for each in events if each["type"].endswith("speech_started")]
        stopped = [each for each in events if each["type"].endswith("speech_stopped")]
        completed = [each for each in events if each["type"].endswith("completed")]
        items = [each["item_id"] for each in completed]
        assert len(set(items)) == 2
        assert [each["item_id"] for each in started] == items
        assert [each["item_id"] for each in stopped] == items
        assert words(completed[0]["transcript"])[-2:] == ["of", "clubs"]
        assert words(completed[1]["transcript"]) == words(TRANSCRIPTS["librivox_0880.wav"])
        first = soundfile.info(voices / "cards_003.wav").duration
        assert started[0]["audio_start_ms"] < stopped[0]["audio_end_ms"]
        assert 1000 * first < started[1]["audio_start_ms"] < stopped[1]["audio_end_ms"]
        order = [each for each in types(events) if not each.endswith(".delta")]
        assert order.index("input_audio_buffer.speech_started") == 0
        assert order.index("input_audio_buffer.committed") > order.index(
            "input_audio_buffer.speech_stopped"
        )


def test_what_may_change_is_shown_on_request(running: Running, voices: Path) -> None:
    with talk(running) as it:
        it.next()
        it.send("session.update", session=SHOWING)
        assert it.unchecked()["session"]["include"] == SHOWING["include"]
        it.append(pcm(voices / "librivox_0880.wav"))
        shown = it.next()
        assert shown["type"] == f"{TRANSCRIPTION}.delta"
        assert isinstance(shown["pending"], str) and shown["delta"] + shown["pending"]
        it.send("input_audio_buffer.commit")
        assert it.until(f"{TRANSCRIPTION}.completed")[-1]["transcript"]


def test_log_probabilities_on_request(running: Running, voices: Path) -> None:
    session = {**MANUAL, "include": ["item.input_audio_transcription.logprobs"]}
    with talking(running, session) as it:
        it.append(pcm(voices / "cards_003.wav"))
        it.send("input_audio_buffer.commit")
        done = it.until(f"{TRANSCRIPTION}.completed")[-1]
        spelled = b"".join(bytes(each["bytes"]) for each in done["logprobs"]).decode()
        assert spelled.strip() == done["transcript"].strip()


def test_the_seconds_of_a_turn_are_counted(running: Running, voices: Path) -> None:
    def counted() -> float:
        return value_of(running.ask("GET", "/metrics").text, "cactus:audio_seconds_total")

    before = counted()
    with talking(running) as it:
        it.append(pcm(voices / "cards_003.wav"))
        it.send("input_audio_buffer.commit")
        seconds = it.until(f"{TRANSCRIPTION}.completed")[-1]["usage"]["seconds"]
    assert counted() - before == pytest.approx(seconds) and seconds > 1


@pytest.mark.parametrize(
    ("format", "old", "subtype"),
    [("audio/pcmu", "g711_ulaw", "ULAW"), ("audio/pcma", "g711_alaw", "ALAW")],
)
@pytest.mark.parametrize("newer", [True, False])
def test_telephone_audio(
    running: Running, voices: Path, format: str, old: str, subtype: str, newer: bool
) -> None:
    samples = np.frombuffer(pcm(voices / "librivox_0880.wav", 8_000), "<i2")
    file = io.BytesIO()
    soundfile.write(file, samples, 8_000, format="RAW", subtype=subtype)
    with talk(running) as it:
        it.next()
        if newer:
            heard = {"format": {"type": format}, "turn_detection": None}
            session = {"type": "transcription", "audio": {"input": heard}}
            it.send("session.update", session=session)
            assert it.next()["session"]["audio"]["input"]["format"] == {"type": format}
        else:
            session = {"input_audio_format": old, "turn_detection": None}
            it.send("transcription_session.update", session=session)
            updated = it.next()
            assert updated["type"] == "transcription_session.updated"
            assert updated["session"]["input_audio_format"] == old
        it.append(file.getvalue(), 8_000)
        it.send("input_audio_buffer.commit")
        done = it.until(f"{TRANSCRIPTION}.completed")[-1]
        assert words(done["transcript"]) == words(TRANSCRIPTS["librivox_0880.wav"])


def test_a_client_of_the_older_form_is_spoken_to_in_it(running: Running, voices: Path) -> None:
    with talk(running, additional_headers={"OpenAI-Beta": "realtime=v1"}) as it:
        created = it.next()
        assert created["type"] == "transcription_session.created"
        assert created["session"]["input_audio_transcription"] == {"model": NAME}
        it.append(pcm(voices / "cards_003.wav", silence=2.0))
        assert "conversation.item.created" in types(it.until(f"{TRANSCRIPTION}.completed"))


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")  # by openai
def test_openais_client(running: Running, voices: Path) -> None:
    api = client(running.url)
    query = {"intent": "transcription"}
    with api.realtime.connect(extra_query=query) as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000},
                        "transcription": {"model": NAME, "language": "en"},
                        "turn_detection": None,
                    }
                },
            }
        )
        assert connection.recv().type == "session.updated"
        audio = base64.b64encode(pcm(voices / "librivox_0880.wav")).decode()
        connection.input_audio_buffer.append(audio=audio)
        connection.input_audio_buffer.commit()
        for event in connection:
            if event.type == f"{TRANSCRIPTION}.completed":
                break
        assert words(event.transcript) == words(TRANSCRIPTS["librivox_0880.wav"])


def test_several_sessions_on_one_model(running: Running, voices: Path) -> None:
    with talking(running) as one, talking(running) as two:
        raw = {one: pcm(voices / "cards_003.wav"), two: pcm(voices / "librivox_0880.wav")}
        for start in range(0, max(map(len, raw.values())), 9_600):
            for it, audio in raw.items():
                if audio[start : start + 9_600]:
                    it.append(audio[start : start + 9_600])
        for it in raw:
            it.send("input_audio_buffer.commit")
        said = {it: it.until(f"{TRANSCRIPTION}.completed")[-1]["transcript"] for it in raw}
        assert words(said[one])[-2:] == ["of", "clubs"]
        assert words(said[two]) == words(TRANSCRIPTS["librivox_0880.wav"])


def test_clear_forgets_the_turn(running: Running, voices: Path) -> None:
    with talking(running) as it:
        it.append(pcm(voices / "librivox_0880.wav"))
        it.send("input_audio_buffer.clear")
        it.until("input_audio_buffer.cleared")
        it.send("input_audio_buffer.commit", event_id="mine")
        error = it.until("error")[-1]["error"]
        assert error["code"] == "input_audio_buffer_commit_empty"
        assert error["event_id"] == "mine"
        it.append(pcm(voices / "cards_003.wav"))
        it.send("input_audio_buffer.commit")
        done = it.until(f"{TRANSCRIPTION}.completed")[-1]
        assert words(done["transcript"])[-2:] == ["of", "clubs"]


def test_a_commit_while_somebody_speaks_ends_the_turn(running: Running, voices: Path) -> None:
    with talk(running) as it:
        it.next()
        it.append(pcm(voices / "librivox_0880.wav"))
        it.until("input_audio_buffer.speech_started")
        it.send("input_audio_buffer.commit")
        done = it.until(f"{TRANSCRIPTION}.completed")[-1]
        assert words(done["transcript"]) == words(TRANSCRIPTS["librivox_0880.wav"])
        # Silence may be committed, too: it says nothing.
        it.append(bytes(48_000))
        it.send("input_audio_buffer.commit")
        assert it.until(f"{TRANSCRIPTION}.completed")[-1]["transcript"] == ""


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "response.create"}, "type"),
        ({"type": 7}, "type"),
        ({}, None),
        ([], None),
        ({"type": "input_audio_buffer.append"}, None),
        ({"type": "input_audio_buffer.append", "audio": "***"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AA=="}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": 1}, "audio"),
        ({"type": "input_audio_buffer.commit"}, None),
        ({"type": "session.update"}, None),
        ({"type": "session.update", "session": {"type": "realtime"}}, "session.type"),
        (
            {
                "type": "session.update",
                "session": {
                    "type": "transcription",
                    "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}},
                },
            },
            "session.audio.input.format.rate",
        ),
        (
            {
                "type": "session.update",
                "session": {
                    "type": "transcription",
                    "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
                },
            },
            "session.audio.input.transcription.model",
        ),
        (
            {
                "type": "transcription_session.update",
                "session": {"input_audio_transcription": {"language": "xx"}},
            },
            "session.input_audio_transcription.language",
        ),
        (
            {
                "type": "transcription_session.update",
                "session": {"turn_detection": {"type": "semantic_vad"}},
            },
            "session.turn_detection.type",
        ),
        (
            {
                "type": "transcription_session.update",
                "session": {"turn_detection": {"type": "server_vad", "threshold": 2}},
            },
            "session.turn_detection.threshold",
        ),
        (
            {
                "type": "transcription_session.update",
                "session": {"input_audio_noise_reduction": {"type": "near_field"}},
            },
            "session.input_audio_noise_reduction",
        ),
        ({"type": "session.update", "session": {"include": ["all"]}}, "session.include[0]"),
    ],
)
def test_what_is_wrong_is_told_and_the_session_goes_on(
    running: Running, event: Any, param: str | None
) -> None:
    with talk(running) as it:
        before = it.next()["session"]
        if isinstance(event, dict):
            event = {**event, "event_id": "mine"}
        it.socket.send(json.dumps(event))
        told = it.next()
        assert told["type"] == "error"
        assert told["error"]["type"] == "invalid_request_error"
        assert told["error"]["event_id"] == ("mine" if isinstance(event, dict) else None)
        if param is not None:
            assert told["error"]["param"] == param, told
        it.send("session.update", session={"type": "transcription"})
        assert it.next()["session"] == before  # nothing of it was taken


@pytest.mark.parametrize("data", [b"\x00\x01", "no JSON", "[" * 1000, "\ud83d"])
def test_what_is_no_event_is_told(running: Running, data: Any) -> None:
    if data == "\ud83d":
        data = '{"type": "input_audio_buffer.clear", "event_id": "\\ud83d"}'
    with talk(running) as it:
        it.next()
        it.socket.send(data)
        assert it.next()["type"] in ("error", "input_audio_buffer.cleared")
        it.send("input_audio_buffer.clear")
        assert it.next()["type"] == "input_audio_buffer.cleared"


@pytest.mark.fault("F49")
def test_audio_that_nobody_has_time_for_is_refused_and_not_kept(
    running: Running, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = pcm(voices / "two_cities.wav")  # 44 seconds
    time_for_it, feed = threading.Event(), LiveTranscription.feed

    def feed_later(live: LiveTranscription, samples: Any) -> Any:
        assert time_for_it.wait(60)
        return feed(live, samples)

    monkeypatch.setattr(LiveTranscription, "feed", feed_later)
    with talking(running) as it:
        for _ in range(5):  # one is written down, two may wait
            it.append(audio, size=len(audio))
        error = it.until("error")[-1]["error"]
        assert error["code"] == "input_audio_buffer_full"
        time_for_it.set()
        it.send("input_audio_buffer.clear")
        it.until("input_audio_buffer.cleared")


def test_a_turn_that_fails_is_told_and_the_next_goes_on(running: Running, voices: Path) -> None:
    prompt = {"model": NAME, "prompt": "p", "language": "yue"}  # whisper-base has no Cantonese
    session = {"turn_detection": None, "input_audio_transcription": prompt}
    with talk(running) as it:
        it.next()
        it.send("transcription_session.update", session=session)
        it.next()
        it.append(pcm(voices / "cards_003.wav"))
        failed = it.until(f"{TRANSCRIPTION}.failed")[-1]
        assert "yue" in failed["error"]["message"]
        it.send("input_audio_buffer.clear")
        it.until("input_audio_buffer.cleared")
        again = {"input_audio_transcription": {"language": ""}}
        it.send("transcription_session.update", session=again)
        it.until("transcription_session.updated")
        it.append(pcm(voices / "cards_003.wav"))
        it.send("input_audio_buffer.commit")
        assert it.until(f"{TRANSCRIPTION}.completed")[-1]["transcript"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("intent=conversation", "intent"), ("model=gpt-realtime", "model"), ("model=tiny", "model")],
)
def test_what_is_not_there_is_refused_at_once(running: Running, query: str, param: str) -> None:
    with pytest.raises(InvalidStatus) as refused, talk(running, query):
        pass
    reply = refused.value.response
    assert reply.status_code in (400, 404) and reply.body is not None
    assert json.loads(reply.body)["error"]["param"] == param


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["realtime", "openai-insecure-api-key.x"], "realtime"),
        (["cactus-key.eA", "chat"], "chat"),
        (["cactus-key.eA"], "cactus-key.eA"),
    ],
)
def test_a_sub_protocol_that_was_offered_is_answered(
    running: Running, offered: Any, chosen: str
) -> None:
    with talk(running, subprotocols=offered) as it:
        assert it.socket.subprotocol == chosen
        it.next()


@pytest.mark.fault("F49")
def test_a_client_that_leaves_frees_the_model(running: Running, voices: Path) -> None:
    with talking(running) as it:
        it.append(pcm(voices / "two_cities.wav"))
        it.until(f"{TRANSCRIPTION}.delta")
    until(lambda: all(each.users == 0 for each in running.service.served))
