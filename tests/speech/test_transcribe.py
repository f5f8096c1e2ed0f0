"""Transcriptions of a tiny random model: what comes is nonsense, how it comes is not."""

from __future__ import annotations

import io
import json
import threading
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cactus import (
    CactusModel,
    Model,
    cactus_audio_embed,
    cactus_complete,
    cactus_destroy,
    cactus_get_last_error,
    cactus_init,
    cactus_transcribe,
)
from cactus.engine.loading import load
from cactus.errors import InvalidAudio, InvalidRequest, UnsupportedModel
from cactus.speech.engine import SpeechEngine
from cactus.speech.options import Options, parse
from cactus.speech.search import compression_ratio
from cactus.speech.transcribe import Transcriber
from cactus.types import Segment
from tests.api.fields import FIELDS
from tests.audio.sounds import silent_wav

# A random model is sure of nothing: every fallback would be tried, and silence be heard.
PLAIN: dict[str, Any] = {
    "vad": False,
    "temperature": 0.0,
    "no_speech_threshold": None,
    "log_prob_threshold": None,
    "compression_ratio_threshold": None,
    "language": "en",
}


@pytest.fixture(scope="module")
def model(speech_folder: Path) -> Any:
    with Model(speech_folder, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def path(sound: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("sound") / "sound.wav"
    soundfile.write(file, sound, 16_000)
    return str(file)


def same(a: tuple[Segment, ...], b: tuple[Segment, ...]) -> bool:
    return [(s.start, s.end, s.text, s.tokens) for s in a] == [
        (s.start, s.end, s.text, s.tokens) for s in b
    ]


@pytest.mark.fault("F48")
def test_segments_are_in_order_and_inside_the_sound(model: Model, sound: np.ndarray) -> None:
    result = model.transcribe(sound, **PLAIN)
    assert result.segments
    assert result.language == "en"
    assert result.duration == pytest.approx(3.0)
    assert result.finish_reason == "stop"
    times = [time for s in result.segments for time in (s.start, s.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 3.02
    assert [s.id for s in result.segments] == list(range(len(result.segments)))
    assert result.text == "".join(s.text for s in result.segments).strip()
    assert 0 < result.confidence < 1
    assert result.metrics.decode_tokens >= sum(len(s.tokens) for s in result.segments)


def test_whatever_the_sound_is_given_as(model: Model, sound: np.ndarray, path: str) -> None:
    raw = (sound * 32767).astype("<i2")
    file = io.BytesIO()
    soundfile.write(file, raw, 16_000, format="WAV")
    want = model.transcribe(file.getvalue(), **PLAIN).segments
    assert same(model.transcribe(file, **PLAIN).segments, want)
    assert same(model.transcribe(raw, **PLAIN).segments, want)
    assert same(model.transcribe(raw.tobytes(), sample_rate=16_000, **PLAIN).segments, want)
    assert same(
        model.transcribe(Path(path), **PLAIN).segments, model.transcribe(path, **PLAIN).segments
    )


@pytest.mark.parametrize("beam_size", [1, 3])
def test_threads_and_repetition_change_nothing(
    speech_folder: Path, model: Model, sound: np.ndarray, beam_size: int
) -> None:
    want = model.transcribe(sound, **PLAIN, beam_size=beam_size).segments
    assert same(model.transcribe(sound, **PLAIN, beam_size=beam_size).segments, want)
    with Model(speech_folder, threads=2) as other:
        assert same(other.transcribe(sound, **PLAIN, beam_size=beam_size).segments, want)


def test_more_beams_find_nothing_less_likely(model: Model, sound: np.ndarray) -> None:
    options = PLAIN | {"timestamps": False, "condition_on_previous_text": False}
    second = sound[: 16_000 - 160]  # one window: the searches see the same
    found = [
        model.transcribe(second, **options, beam_size=beams, patience=2.0).segments[0].avg_logprob
        for beams in (1, 8)
    ]
    assert found[1] >= found[0]


@pytest.mark.parametrize(
    "options", [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 1.0, "best_of": 3}]
)
def test_tokens_say_how_probable_they_were(
    model: Model, sound: np.ndarray, options: dict[str, Any]
) -> None:
    asked = PLAIN | {"timestamps": False, "max_new_tokens": 5} | options  # it does not end by then
    second = sound[: 16_000 - 160]
    (segment,) = model.transcribe(second, **asked, logprobs=True).segments
    assert segment.logprobs is not None
    assert tuple(each.token_id for each in segment.logprobs) == segment.tokens
    spelled = b"".join(each.bytes for each in segment.logprobs)
    assert spelled.decode("utf-8", "replace") == segment.text
    total = sum(each.logprob for each in segment.logprobs)
    assert total == pytest.approx(segment.avg_logprob * (len(segment.tokens) + 1))
    (plain,) = model.transcribe(second, **asked).segments
    assert plain.logprobs is None and plain.tokens == segment.tokens


def test_each_segment_has_the_probabilities_of_its_own_tokens(
    model: Model, sound: np.ndarray
) -> None:
    result = model.transcribe(sound, **PLAIN, logprobs=True)
    first_time = model._engine.tokenizer.token_to_id("<|0.00|>")
    assert first_time is not None and len(result.segments) > 1
    for segment in result.segments:
        text = [id for id in segment.tokens if id < first_time]
        assert [each.token_id for each in segment.logprobs or ()] == text
        assert all(each.logprob <= 0 for each in segment.logprobs or ())
    shown = json.loads(result.to_json())["segments"]
    assert [each["logprobs"] for each in shown] == [
        [each.to_dict() for each in segment.logprobs or ()] for segment in result.segments
    ]


def test_samples_repeat_with_a_seed(model: Model, sound: np.ndarray) -> None:
    options = PLAIN | {"temperature": 1.0, "best_of": 2}
    once = model.transcribe(sound, **options, seed=7).segments
    assert same(model.transcribe(sound, **options, seed=7).segments, once)
    assert not same(model.transcribe(sound, **options, seed=8).segments, once)


def test_more_samples_find_nothing_less_likely(model: Model, sound: np.ndarray) -> None:
    options = PLAIN | {"temperature": 1.0, "timestamps": False, "length_penalty": 1.0, "seed": 3}
    second = sound[: 16_000 - 160]
    scores = []
    for count in (1, 2, 6):  # the first samples are the same ones
        (segment,) = model.transcribe(second, **options, best_of=count).segments
        length = len(segment.tokens)
        scores.append(segment.avg_logprob * (length + 1) / length)
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_an_answer_goes_on_from_what_is_said(
    speech_folder: Path, sound: np.ndarray, beam_size: int
) -> None:
    engine = SpeechEngine.of(load(speech_folder, threads=1))
    transcriber = Transcriber(engine, parse(PLAIN | {"beam_size": beam_size}))
    with engine.decoder.session() as session:
        whole = transcriber.alone(transcriber.answer(session, sound[:16_000]))
        for count in (1, 5, len(whole.tokens) - 1):
            said = whole.tokens[:count]
            rest = transcriber.alone(transcriber.answer(session, sound[:16_000], said))
            assert rest.tokens[:count] == said
            assert rest.total > whole.total
            if beam_size == 1:
                assert rest.tokens == whole.tokens
        full = whole.tokens + [1] * engine.context_length
        with pytest.raises(InvalidRequest, match="prompt has"):
            transcriber.alone(
                transcriber.answer(session, sound[:16_000], full[: engine.context_length - 3])
            )
    engine.loaded.close()


def test_a_language_is_detected(model: Model, sound: np.ndarray) -> None:
    result = model.transcribe(sound, **(PLAIN | {"language": None}))
    assert result.language in ("en", "de")
    assert 0.5 <= result.language_probability <= 1


@pytest.mark.fault("F47")
def test_the_stream_gives_segments_as_they_come(model: Model, sound: np.ndarray) -> None:
    with model.transcribe_stream(sound, **PLAIN) as stream:
        first = next(stream)
        assert stream.transcription is None
        assert stream.seconds < 3
        # Between two segments others go on, and change nothing.
        other = model.transcribe(sound, **PLAIN)
        rest = list(stream)
    assert stream.transcription is not None
    assert stream.transcription.segments == (first, *rest) == other.segments


def test_stop_returns_what_there_is(model: Model, sound: np.ndarray) -> None:
    whole = model.transcribe(sound, **PLAIN).segments
    with model.transcribe_stream(sound, **PLAIN) as stream:
        first = next(stream)
        model.stop()
        rest = list(stream)
    result = stream.transcription
    assert result is not None
    assert result.finish_reason == "cancelled"
    assert result.segments == (first, *rest)
    assert len(result.segments) < len(whole)


@pytest.mark.fault("F51")
def test_stop_from_another_thread(model: Model) -> None:
    noise = np.random.default_rng(1).standard_normal(16_000 * 600).astype(np.float32) * 0.1
    stopper = threading.Timer(0.5, model.stop)
    stopper.start()
    result = model.transcribe(noise, **PLAIN)
    stopper.join()
    assert result.finish_reason == "cancelled"
    assert result.duration < 600


@pytest.mark.fault("F46")
def test_silence_says_nothing(model: Model) -> None:
    silence = np.zeros(16_000 * 5, np.float32)
    result = model.transcribe(silence, **(PLAIN | {"vad": True}))
    assert (result.text, result.segments) == ("", ())
    assert result.confidence == 0.0
    unknown = model.transcribe(silence, **(PLAIN | {"vad": True, "language": None}))
    assert (unknown.language, unknown.language_probability) == (None, 0.0)


@pytest.mark.fault("F43")
@pytest.mark.parametrize("count", [0, 1, 160, 1600])
def test_very_short_audio_gives_an_empty_transcription(
    model: Model, sound: np.ndarray, count: int
) -> None:
    for vad in (True, False):
        result = model.transcribe(sound[:count], **(PLAIN | {"vad": vad}))
        assert result.finish_reason == "stop"
        assert all(0 <= s.start <= s.end <= count / 16_000 for s in result.segments)
        assert count >= 1600 or result.segments == ()


@pytest.mark.fault("F46")
def test_impossible_samples_are_transcribed_as_repaired(model: Model, sound: np.ndarray) -> None:
    broken, repaired = sound.copy(), sound.copy()
    for at, (bad, good) in enumerate([(np.nan, 0), (np.inf, 0), (1e30, 1), (-1e30, -1), (1.5, 1)]):
        broken[at * 5000 :: 30_000], repaired[at * 5000 :: 30_000] = bad, good
    result = model.transcribe(broken, **PLAIN)
    assert same(result.segments, model.transcribe(repaired, **PLAIN).segments)
    assert "are not numbers" in result.notes[0]
    clipped = model.transcribe(np.clip(20 * sound, -1, 1), **PLAIN)
    assert clipped.segments and clipped.notes == ()
    assert all(np.isfinite(s.avg_logprob) for s in clipped.segments)


@pytest.mark.fault("F47")
def test_ten_hours_can_be_stopped_anywhere(model: Model, tmp_path: Path) -> None:
    path = silent_wav(tmp_path / "long.wav", 36_000)
    for vad in (True, False):
        done = threading.Event()

        def stop(done: threading.Event = done) -> None:
            while not done.wait(0.1):  # the first one may come before it has begun
                model.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        result = model.transcribe(path, **(PLAIN | {"vad": vad}))
        done.set()
        stopper.join()
        assert result.finish_reason == "cancelled"
        assert result.segments == ()
        assert result.duration < 36_000


@pytest.mark.fault("F46")
@pytest.mark.parametrize("level", [0.0, 0.3, -1.0])
def test_digital_silence_gives_no_text_without_a_detector_either(
    model: Model, sound: np.ndarray, level: float
) -> None:
    silence = np.full(16_000 * 5, level, np.float32)
    steps = np.random.default_rng(0).integers(-1, 2, len(silence)) / 32768
    for quiet in (silence, silence + steps.astype(np.float32)):
        result = model.transcribe(quiet, **PLAIN)
        assert (result.text, result.duration) == ("", pytest.approx(5.0))
    # What comes behind it is heard, where it is.
    late = model.transcribe(np.concatenate([np.zeros(32_000, np.float32), sound]), **PLAIN)
    plain = model.transcribe(sound, **PLAIN)
    assert late.segments[0].tokens == plain.segments[0].tokens
    assert late.segments[0].start == pytest.approx(plain.segments[0].start + 2)


def test_silence_has_no_words_and_no_language(model: Model) -> None:
    silence = np.zeros(16_000, np.float32)
    options = PLAIN | {"language": None, "word_timestamps": True}
    result = model.transcribe(silence, **options)
    assert (result.segments, result.language) == ((), None)


def test_the_embedding_is_the_mean_over_real_sound(model: Model, sound: np.ndarray) -> None:
    whole = model.embed_audio(sound)
    assert len(whole) == 32
    parts = [model.embed_audio(sound[i : i + 16_000]) for i in (0, 16_000, 32_000)]
    assert np.allclose(whole, np.mean(parts, axis=0), atol=1e-6)
    half = model.embed_audio(sound[:8_000])
    padded = model.embed_audio(np.concatenate([sound[:8_000], np.zeros(8_000, np.float32)]))
    assert not np.allclose(half, padded, atol=1e-3)
    with pytest.raises(InvalidAudio, match="20 ms"):
        model.embed_audio(sound[:100])


def test_the_flat_functions(speech_folder: Path, path: str) -> None:
    handle = cactus_init(str(speech_folder))
    assert handle is not None
    seen: list[tuple[str, int]] = []
    answer = json.loads(
        cactus_transcribe(
            handle,
            path,
            "<|startoftranscript|><|en|><|transcribe|>",
            lambda text, token, data: seen.append((text, token)),
            **PLAIN,
        )
    )
    assert list(answer) == [*FIELDS, "segments"]
    assert answer["success"] is True
    assert answer["error"] is None
    assert answer["response"] == "".join(text for text, _ in seen).strip()
    assert [s["text"] for s in answer["segments"]] == [text for text, _ in seen]
    assert all(set(s) == {"start", "end", "text"} for s in answer["segments"])
    assert len(cactus_audio_embed(handle, path)) == 32
    chat = json.loads(cactus_complete(handle, [{"role": "user", "content": "Hello"}]))
    assert "(whisper) cannot chat" in chat["error"]
    for bad, message in (
        ((handle, "/no/such.wav"), "no such file"),
        ((handle, path, "<|xyz|>"), "language is 'xyz'"),
        ((handle, path, "<|huh?|>"), r"<|huh?|> is not a language"),
        ((handle, path, 3), "prompt must be a string"),
    ):
        failed = json.loads(cactus_transcribe(*bad))  # type: ignore[arg-type]
        assert list(failed) == [*FIELDS, "segments"]
        assert failed["success"] is False
        assert message in failed["error"]
        assert cactus_get_last_error() == failed["error"]
    cactus_destroy(handle)


def test_what_a_callback_raises_comes_out(speech_folder: Path, path: str) -> None:
    def refuse(text: str, token: int, data: None) -> None:
        raise KeyError("enough")

    with CactusModel(speech_folder) as model:
        with pytest.raises(KeyError, match="enough"):
            model.transcribe(
                path, "<|en|>", refuse, **{k: v for k, v in PLAIN.items() if k != "language"}
            )
        assert json.loads(model.transcribe(path, vad=False))["success"] is True


def test_a_text_model_does_not_listen(tiny_model: Path, path: str) -> None:
    with Model(tiny_model) as model:
        with pytest.raises(UnsupportedModel, match="cannot transcribe audio"):
            model.transcribe(path)
        with pytest.raises(UnsupportedModel, match="cannot embed audio"):
            model.embed_audio(path)


@pytest.mark.fault("F48")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 3}, "unknown option 'beams': did you mean beam_size?"),
        ({"zzz": 3}, "unknown option 'zzz': the options are language, task"),
        ({"beam_size": 0}, "beam_size"),
        ({"language": "klingon"}, "language is 'klingon', expected one of: de, en"),
        ({"language": 3}, "language must be a string"),
        ({"task": "sing"}, "task is 'sing'"),
        ({"temperature": []}, "temperature is empty"),
        ({"temperature": "hot"}, "temperature"),
        ({"no_speech_threshold": 2}, "no_speech_threshold"),
    ],
)
def test_bad_options(model: Model, sound: np.ndarray, options: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        model.transcribe(sound, **options)


def test_the_compression_ratio_is_that_of_the_bare_text() -> None:
    data = b"It was the best of times, it was the worst of times."
    assert compression_ratio(f" {data.decode()} ") == len(data) / len(zlib.compress(data))
    assert compression_ratio(" ") == 0.0


def test_none_is_the_default(model: Model, sound: np.ndarray) -> None:
    names = {field.name for field in fields(Options)}
    thresholds = {name for name in names if name.endswith("_threshold")}
    assert parse(dict.fromkeys(names - thresholds)) == Options()
    switched_off = parse(dict.fromkeys(thresholds))
    assert all(getattr(switched_off, name) is None for name in thresholds)
    given = dict.fromkeys(names - PLAIN.keys())
    assert same(
        model.transcribe(sound, **given, **PLAIN).segments,
        model.transcribe(sound, **PLAIN).segments,
    )


def test_a_context_is_for_text_models(speech_folder: Path) -> None:
    with pytest.raises(InvalidRequest, match="windows of 30 seconds"):
        Model(speech_folder, context=100)


def test_a_stream_knows_how_long_its_sound_is(model: Model, sound: np.ndarray, path: str) -> None:
    with model.transcribe_stream(path, **PLAIN) as stream:
        assert stream.duration == 3.0
    raw = io.BytesIO(np.zeros(1600, "<i2").tobytes())
    with model.transcribe_stream(raw, sample_rate=16_000, **PLAIN) as stream:
        assert stream.duration is None


def test_silence_has_been_listened_to(model: Model) -> None:
    result = model.transcribe(np.zeros(40_000, np.float32), language="en")
    assert (result.duration, result.segments) == (2.5, ())
