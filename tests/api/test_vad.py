"""`cactus_vad`, its method and `detect_speech`: one sound, given in every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import CactusModel, cactus_destroy, cactus_get_last_error, cactus_init, cactus_vad
from cactus.audio.decode import open_audio
from cactus.audio.vad import Speech, VadOptions, detect_speech, find_speech
from cactus.errors import InvalidAudio, InvalidRequest, ModelClosed

FIELDS = ["success", "error", "segments", "total_time_ms", "ram_usage_mb"]
UPSTREAM = {"min_speech_duration_ms": 250, "min_silence_duration_ms": 100, "speech_pad_ms": 30}


@pytest.fixture(scope="module")
def clip(voices: Path) -> Path:
    return voices / "beckett.wav"


@pytest.fixture(scope="module")
def samples(clip: Path) -> Any:
    """16-bit samples, as a microphone gives them."""
    return (open_audio(clip).read().clip(-1, 1) * 32767).astype("<i2")


@pytest.fixture
def handle(tiny_model: Path) -> Any:
    """A model of text: where somebody speaks is no question to the model itself."""
    made = cactus_init(str(tiny_model))
    yield made
    cactus_destroy(made)


def parts(answer: str) -> list[Speech]:
    result = json.loads(answer)
    assert list(result) == FIELDS
    assert (result["success"], result["error"]) == (True, None)
    assert result["total_time_ms"] > 0
    assert result["ram_usage_mb"] > 0
    return [Speech(**each) for each in result["segments"]]


def test_a_file_and_its_samples_have_the_same_segments(
    handle: int, clip: Path, samples: Any
) -> None:
    want = list(find_speech([open_audio(clip).read()], VadOptions(**UPSTREAM)))
    assert len(want) > 1
    assert parts(cactus_vad(handle, str(clip))) == want
    found = parts(cactus_vad(handle, pcm_data=samples.tobytes()))
    for each in (samples, samples.tolist(), (samples / 32768).astype(np.float32)):
        assert parts(cactus_vad(handle, pcm_data=each)) == found
    assert len(found) == len(want)


def test_options_are_a_dict_or_json(handle: int, clip: Path) -> None:
    options = {"threshold": 0.9, "speech_pad_ms": 0, "min_silence_duration_ms": 1000}
    found = parts(cactus_vad(handle, str(clip), options=options))
    assert found == parts(cactus_vad(handle, str(clip), options=json.dumps(options)))
    assert found == detect_speech(clip, min_speech_duration_ms=250, **options)
    assert found != parts(cactus_vad(handle, str(clip)))


def test_silence_has_no_segments(handle: int) -> None:
    for silence in (b"", b"\0" * 64_000, []):
        assert parts(cactus_vad(handle, pcm_data=silence)) == []


def test_one_sound_and_no_more(handle: int, samples: Any) -> None:
    with pytest.raises(ValueError, match="one of audio_path and pcm_data, got neither"):
        cactus_vad(handle)
    with pytest.raises(ValueError, match="got both"):
        cactus_vad(handle, "a.wav", samples)
    assert "got both" in (cactus_get_last_error() or "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"audio_path": "/no/such.wav"}, "no such file"),
        ({"pcm_data": b"odd"}, "an even number of bytes"),
        ({"pcm_data": [1, 2, 40_000]}, "beyond 16 bits"),
        ({"pcm_data": [[1, 2]]}, "expected [samples]"),
        ({"pcm_data": ["a"]}, "expected float within"),
        ({"pcm_data": 3}, "pcm_data must be bytes of 16-bit samples"),
        ({"pcm_data": b"", "options": {"treshold": 1}}, "did you mean threshold?"),
        ({"pcm_data": b"", "options": {"threshold": 2}}, "threshold is 2, expected a number"),
        ({"pcm_data": b"", "options": "{"}, "options: expected valid JSON"),
        ({"pcm_data": b"", "options": "[" * 200_000}, "options: nested more than 64 levels deep"),
        ({"pcm_data": b"", "options": [1]}, "options must be a dict or a JSON object, got list"),
    ],
)
def test_what_is_wrong_is_in_the_json(handle: int, given: Any, message: str) -> None:
    result = json.loads(cactus_vad(handle, **given))
    assert list(result) == FIELDS
    assert (result["success"], result["segments"]) == (False, [])
    assert message in result["error"]
    assert cactus_get_last_error() == result["error"]


def test_the_method_and_a_model_that_is_gone(tiny_model: Path, clip: Path) -> None:
    with CactusModel(tiny_model) as model:
        found = parts(model.vad(str(clip)))
        assert found == parts(model.vad(str(clip), options=UPSTREAM))
    with pytest.raises(ModelClosed):
        model.vad(str(clip))
    handle = cactus_init(str(tiny_model))
    assert handle is not None
    cactus_destroy(handle)
    assert "has been destroyed" in json.loads(cactus_vad(handle, str(clip)))["error"]


def test_detect_speech_needs_no_model(clip: Path, samples: Any) -> None:
    found = detect_speech(clip)
    assert found == list(find_speech([open_audio(clip).read()]))
    assert detect_speech(samples.tobytes(), sample_rate=16_000) == found
    with pytest.raises(InvalidRequest, match="did you mean speech_pad_ms"):
        detect_speech(clip, speech_pad=3)
    with pytest.raises(InvalidAudio, match="no such file"):
        detect_speech("/no/such.wav")
