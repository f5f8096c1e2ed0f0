"""Live transcriptions of a tiny random model, whose windows last a second, and of a real one."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import (
    CactusModel,
    Model,
    cactus_destroy,
    cactus_get_last_error,
    cactus_init,
    cactus_stop,
    cactus_stream_transcribe_process,
    cactus_stream_transcribe_start,
    cactus_stream_transcribe_stop,
)
from cactus.audio.decode import open_audio
from cactus.errors import (
    Cancelled,
    InvalidAudio,
    InvalidRequest,
    ModelClosed,
    UnsupportedModel,
)
from cactus.speech.engine import SpeechEngine
from cactus.speech.live import LiveTranscription
from cactus.types import Segment
from tests.api.fields import FIELDS
from tests.speech.test_transcribe import PLAIN

OFTEN = PLAIN | {"interval": 0.1}
FLAT = {name: value for name, value in PLAIN.items() if name != "language"}


@pytest.fixture(scope="module")
def model(speech_folder: Path) -> Any:
    with Model(speech_folder, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def voice(voices: Path) -> np.ndarray:
    """Four seconds of speech and as many of silence, twice."""
    speech = open_audio(voices / "beckett.wav").read()[:64_000]
    silence = np.zeros(64_000, np.float32)
    return np.concatenate([silence, speech, silence, speech])


def run(live: LiveTranscription, samples: Any, size: int) -> tuple[str, list[Segment]]:
    """All that is confirmed, and all segments, of samples fed in blocks; what must hold does."""
    texts, segments = [], []
    updates = (live.feed(samples[i : i + size]) for i in range(0, len(samples), size))
    for update in updates:
        texts.append(update.confirmed)
        segments += update.segments
        assert live.text == "".join(texts)
        assert live.pending == update.pending
        assert len(live._listener._held) < live._listener._window
        assert not live._inbox
    last = live.finish()
    assert last.pending == live.pending == ""
    text = "".join([*texts, last.confirmed])
    assert live.text == text
    return text, [*segments, *last.segments]


def spoken(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(segment.start, segment.end, segment.text) for segment in segments]


@pytest.mark.parametrize("options", [PLAIN, PLAIN | {"vad": True, "beam_size": 2}])
def test_all_at_once_it_is_the_transcription_of_a_recording(
    model: Model, voice: np.ndarray, options: Any
) -> None:
    want = model.transcribe(voice, **options)
    assert len(want.segments) > 5
    text, segments = run(model.transcribe_live(**options), voice, len(voice))
    assert spoken(segments) == spoken(list(want.segments))
    assert text.strip() == want.text
    assert [segment.id for segment in segments] == list(range(len(segments)))


@pytest.mark.parametrize("size", [480, 1_600, 4_000])
def test_what_is_confirmed_is_what_the_segments_say(
    model: Model, voice: np.ndarray, size: int
) -> None:
    text, segments = run(model.transcribe_live(**OFTEN | {"vad": True}), voice, size)
    assert text.strip() == "".join(segment.text for segment in segments).strip()
    times = [time for segment in segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert {round(time) for time in times} <= {*range(3, 9), *range(11, 17)}
    assert times[-1] > 11


def test_blocks_that_divide_the_interval_give_the_same_text(
    model: Model, sound: np.ndarray
) -> None:
    want = run(model.transcribe_live(**OFTEN), sound, 1_600)
    for size in (160, 800):
        assert run(model.transcribe_live(**OFTEN), sound, size) == want


def test_whatever_the_samples_are_given_as(model: Model, sound: np.ndarray) -> None:
    raw = (sound * 32767).astype("<i2")
    want = run(model.transcribe_live(**PLAIN), raw, 8_000)
    assert want[0]
    for form in (raw.tolist(), (raw / 32768).astype(np.float32), (raw / 32768).tolist()):
        assert run(model.transcribe_live(**PLAIN), form, 8_000) == want
    assert run(model.transcribe_live(**PLAIN), raw.tobytes(), 16_000) == want


def test_silence_is_not_heard(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    live = model.transcribe_live(interval=0.1)
    monkeypatch.setattr(live._listener, "_pass", None)
    for _ in range(30):
        update = live.feed(np.zeros(3_200, np.float32))
        assert (update.confirmed, update.pending, update.segments) == ("", "", ())
        assert update.metrics.total_tokens == 0
    assert live.finish().confirmed == ""


def test_the_end_of_speech_confirms_it(model: Model, voice: np.ndarray) -> None:
    live = model.transcribe_live(**PLAIN | {"vad": True, "interval": 30.0})
    speech = voice[64_000:128_000]
    # What a room sounds like: of digital silence it is known that nobody speaks.
    silence = np.random.default_rng(0).normal(0, 1e-3, 8_000).astype(np.float32)
    live.feed(speech)
    ends = [live.feed(silence) for _ in range(8)]
    assert sum(update.metrics.total_tokens > 0 for update in ends) == 1
    assert live.pending == ""
    assert live.finish().confirmed == ""


def test_words_have_their_times(model: Model, voice: np.ndarray) -> None:
    options = PLAIN | {"vad": True, "word_timestamps": True}
    want = model.transcribe(voice, **options).segments
    _, segments = run(model.transcribe_live(**options), voice, len(voice))
    assert [segment.words for segment in segments] == [segment.words for segment in want]
    assert any(segment.words for segment in segments)


def test_the_language_is_that_of_what_was_understood(model: Model, sound: np.ndarray) -> None:
    with model.transcribe_live(**PLAIN | {"language": None}) as live:
        assert live.language is None
        run(live, sound, 4_000)
        assert live.language in ("en", "de")


def test_other_calls_come_between(model: Model, sound: np.ndarray) -> None:
    want = run(model.transcribe_live(**OFTEN), sound, 1_600)
    alone = model.transcribe(sound, **PLAIN).text
    live = model.transcribe_live(**OFTEN)
    text = ""
    for i in range(0, len(sound), 1_600):
        text += live.feed(sound[i : i + 1_600]).confirmed
        if i % 16_000 == 0:
            assert model.transcribe(sound, **PLAIN).text == alone
    assert text + live.finish().confirmed == want[0]


def test_two_threads_do_not_meet(model: Model, sound: np.ndarray) -> None:
    want = run(model.transcribe_live(**OFTEN), sound, 1_600)
    found: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(run(model.transcribe_live(**OFTEN), sound, 1_600))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [want] * 3


@pytest.mark.parametrize("whose", ["model", "live"])
def test_stop_ends_the_hearing_and_loses_nothing(
    model: Model, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    want, _ = run(model.transcribe_live(**PLAIN), sound, len(sound))
    live = model.transcribe_live(**PLAIN)
    engine, encode, done = live._listener.transcriber.engine, SpeechEngine.encode, []

    def stopped(engine: Any, *args: Any, **options: Any) -> Any:
        done.append(len(done))
        if len(done) == 2:
            {"model": model, "live": live}[whose].stop()
        return encode(engine, *args, **options)

    monkeypatch.setattr(type(engine), "encode", stopped)
    first = live.feed(sound)
    assert len(done) == 2
    assert want.startswith(first.confirmed)
    assert len(first.confirmed) < len(want)
    rest = live.feed(b"")
    assert first.confirmed + rest.confirmed + live.finish().confirmed == want
    live.stop()  # nothing is under way


@pytest.mark.parametrize("ends", ["stop", "close"])
def test_what_ends_a_pass_as_it_begins_is_not_missed(
    model: Model, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    live = model.transcribe_live(**PLAIN)
    check, seen = live._check, []

    def meanwhile() -> None:
        """Another thread comes in between, once it is this one's turn."""
        seen.append(None)
        if len(seen) == 2:
            if ends == "close":
                live.close()
            live.stop()
        check()

    monkeypatch.setattr(live, "_check", meanwhile)
    if ends == "close":
        with pytest.raises(InvalidRequest, match="has ended"):
            live.feed(sound)
    else:
        update = live.feed(sound)
        assert (update.confirmed, update.pending) == ("", "")
    assert len(seen) == 2


def test_what_is_fed_and_a_recording_are_transcribed_in_turn(
    model: Model, sound: np.ndarray
) -> None:
    want = model.transcribe(sound, **PLAIN).segments
    live = model.transcribe_live(**PLAIN)
    with model.transcribe_stream(sound, **PLAIN) as stream:
        first = next(stream)
        text = run(live, sound, len(sound))[0].strip()
        assert (first, *stream) == want
    assert text == "".join(segment.text for segment in want).strip()


def test_after_the_end_there_is_nothing_to_feed(model: Model, sound: np.ndarray) -> None:
    live = model.transcribe_live(**PLAIN)
    live.feed(sound)
    live.finish()
    text = live.text
    assert live.closed
    for again in (lambda: live.feed(sound), live.finish):
        with pytest.raises(InvalidRequest, match="has ended; begin another one"):
            again()
    live.close()
    assert live.text == text
    with model.transcribe_live(**PLAIN) as left:
        left.feed(sound)
    with pytest.raises(InvalidRequest, match="has ended"):
        left.finish()


def test_a_model_that_is_gone(speech_folder: Path, sound: np.ndarray) -> None:
    model = Model(speech_folder, threads=1)
    live = model.transcribe_live(**PLAIN)
    live.feed(sound)
    model.close()
    assert live.closed
    for call in (lambda: live.feed(sound), live.finish, model.transcribe_live):
        with pytest.raises(ModelClosed):
            call()
    live.close()


def test_a_model_that_goes_while_it_listens(
    speech_folder: Path, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(speech_folder, threads=1)
    live = model.transcribe_live(**PLAIN)
    closer = threading.Thread(target=model.close)
    encode = SpeechEngine.encode

    def closed(engine: Any, *args: Any, **options: Any) -> Any:
        closer.start()
        while not model.closed:
            pass
        return encode(engine, *args, **options)

    monkeypatch.setattr(SpeechEngine, "encode", closed)
    with pytest.raises(Cancelled, match="destroyed"):
        live.feed(sound)
    closer.join()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (b"odd", "an even number of bytes"),
        ([0.1, float("nan")], "some of 2 samples are not numbers"),
        ([0.1, float("inf")], "not numbers"),
        ([1e9] * 3, "expected ±1 for full scale"),
        ([1, 70_000], "beyond 16 bits"),
        ([[0.0, 0.0]], r"has the shape \[1, 2\]"),
        (np.zeros(3, np.int64), "int64, expected float"),
        (np.zeros(3, complex), "complex128, expected float"),
        ("talk.wav", "samples are str, expected bytes"),
        (None, "audio"),
        (3.0, "shape"),
    ],
)
def test_bad_samples(model: Model, sound: np.ndarray, samples: Any, message: str) -> None:
    with model.transcribe_live(**PLAIN) as live:
        with pytest.raises(InvalidAudio, match=message):
            live.feed(samples)
        assert run(live, sound, len(sound))[0].strip() == model.transcribe(sound, **PLAIN).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 8000}, "unknown option 'rate'"),
        ({"timestamps": False}, "timestamps must be True"),
        ({"interval": 0.01}, "interval must be"),
        ({"interval": "1"}, "interval must be"),
        ({"language": "klingon"}, "language is 'klingon'"),
    ],
)
def test_bad_options(model: Model, options: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        model.transcribe_live(**options)


def test_a_text_model_does_not_listen(tiny_model: Path) -> None:
    with Model(tiny_model) as model, pytest.raises(UnsupportedModel, match="cannot transcribe"):
        model.transcribe_live()
    handle = cactus_init(str(tiny_model))
    assert handle is not None
    assert cactus_stream_transcribe_start(handle) is None
    assert "cannot transcribe" in (cactus_get_last_error() or "")
    cactus_destroy(handle)


def answer(text: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text)
    assert list(made) == [*FIELDS, "segments", "confirmed", "pending"]
    return made


def test_the_flat_functions(speech_folder: Path, sound: np.ndarray) -> None:
    handle = cactus_init(str(speech_folder))
    assert handle is not None
    raw = (sound * 32767).astype("<i2").tobytes()
    options = {**FLAT, "min_chunk_size": 1_600}
    with Model(speech_folder) as model:
        want, segments = run(model.transcribe_live(**OFTEN), raw, 6_400)
    texts = []
    for given in (options, json.dumps(options)):
        stream = cactus_stream_transcribe_start(handle, given)
        assert isinstance(stream, int)
        parts = [
            answer(cactus_stream_transcribe_process(stream, raw[i : i + 6_400]))
            for i in range(0, len(raw), 6_400)
        ]
        parts.append(answer(cactus_stream_transcribe_stop(stream)))
        assert all(part["success"] and part["error"] is None for part in parts)
        assert all(part["response"] == part["confirmed"] for part in parts)
        assert any(part["pending"] for part in parts)
        assert parts[-1]["pending"] == ""
        assert sum(part["decode_tokens"] for part in parts) > 0
        assert [each for part in parts for each in part["segments"]] == [
            segment.to_dict() for segment in segments
        ]
        texts.append("".join(part["confirmed"] for part in parts))
        for late in (cactus_stream_transcribe_process(stream, raw),):
            ended = answer(late)
            assert (ended["success"], ended["confirmed"], ended["response"]) == (False, "", None)
            assert f"stream {stream} has ended: it was stopped" in ended["error"]
            assert cactus_get_last_error() == ended["error"]
        assert not answer(cactus_stream_transcribe_stop(stream))["success"]
    assert texts == [want, want]
    cactus_stop(handle)
    cactus_destroy(handle)


def test_errors_of_the_flat_functions(speech_folder: Path, sound: np.ndarray) -> None:
    handle = cactus_init(str(speech_folder))
    assert handle is not None
    for options, language, message in (
        ({"sample_rate": 8000}, "en", "unknown option 'sample_rate'"),
        ({"min_chunk_size": 3}, "en", "min_chunk_size"),
        ({"confirmation_threshold": 7}, "en", "confirmation_threshold"),
        ("nonsense", "en", "options: expected valid JSON"),
        ("[" * 200_000, "en", "options: nested more than 64 levels deep"),
        (None, "klingon", "language is 'klingon'"),
    ):
        assert cactus_stream_transcribe_start(handle, options, language) is None
        assert message in (cactus_get_last_error() or "")
    failed = cactus_stream_transcribe_start(handle, None, "klingon")
    assert "cactus_stream_transcribe_start failed: language is" in cactus_stream_transcribe_process(
        failed, b""
    )  # type: ignore[arg-type]
    for stream in ("1", True, 10**9):
        assert not answer(cactus_stream_transcribe_process(stream, b""))["success"]  # type: ignore[arg-type]
    stream = cactus_stream_transcribe_start(handle, FLAT, "")
    assert stream is not None
    bad = answer(cactus_stream_transcribe_process(stream, b"odd"))
    assert "even number of bytes" in bad["error"]
    assert answer(cactus_stream_transcribe_process(stream, sound))["confirmed"]
    cactus_destroy(handle)
    gone = answer(cactus_stream_transcribe_process(stream, sound))
    assert "has ended: it was stopped, or its model destroyed" in gone["error"]
    assert cactus_stream_transcribe_start(handle) is None
    assert "has been destroyed" in (cactus_get_last_error() or "")


def test_the_method(speech_folder: Path, sound: np.ndarray) -> None:
    with CactusModel(speech_folder) as model:
        stream = model.stream_transcribe_start(FLAT)
        assert stream is not None
        first = answer(cactus_stream_transcribe_process(stream, sound))["confirmed"]
        text = first + answer(cactus_stream_transcribe_stop(stream))["confirmed"]
        want = json.loads(model.transcribe(sound, "<|en|>", **FLAT))["response"]
        assert text.strip() == want
        assert model.stream_transcribe_start({"beams": 3}) is None
        other = model.stream_transcribe_start(FLAT)
    assert "its model destroyed" in cactus_stream_transcribe_process(other, sound)  # type: ignore[arg-type]
    with pytest.raises(ModelClosed):
        model.stream_transcribe_start()


def words(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c.isalnum() or c in " '-")
    return kept.replace("-", " ").split()


def distance(one: list[str], other: list[str]) -> int:
    """How many words must be put in, left out or changed (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, each in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != each))
    return row[-1]


def test_speech_is_understood_as_in_a_recording(whisper_base_int8: Path, voices: Path) -> None:
    """44 seconds, of which the first 30 fill a window; blocks of a tenth of a second."""
    sound = open_audio(voices / "two_cities.wav").read()
    with Model(whisper_base_int8) as model:
        want = words(model.transcribe(sound, language="en").text)
        assert len(want) > 100
        live = model.transcribe_live(language="en", interval=9.0)
        text, segments = run(live, sound, 1_600)
        assert distance(want, words(text)) <= 0.03 * len(want)
        assert text.strip() == "".join(segment.text for segment in segments).strip()
        times = [time for segment in segments for time in (segment.start, segment.end)]
        assert times == sorted(times)
        assert times[-1] > 40
