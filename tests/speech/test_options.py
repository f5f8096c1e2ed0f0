"""The options of a transcription: the names of faster-whisper, each with its effect."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cactus
from cactus import Model
from cactus.audio.segmenter import VadOptions
from cactus.errors import InvalidRequest
from cactus.speech.options import Options, TranscribeOptions, parse
from cactus.speech.rules import Rules
from tests.speech.test_rules import SMALL
from tests.speech.test_transcribe import PLAIN


@pytest.fixture(scope="module")
def model(speech_folder: Path) -> Any:
    with Model(speech_folder, threads=1) as loaded:
        yield loaded


def test_the_options_are_typed_and_all_have_a_check() -> None:
    named = set(typing.get_type_hints(TranscribeOptions))
    assert named - {"vad_filter", "without_timestamps"} == set(Options.__dataclass_fields__)
    assert cactus.TranscribeOptions is TranscribeOptions
    assert parse(dict.fromkeys(named)).vad


@pytest.mark.fault("F48")
def test_a_token_that_the_model_does_not_have_is_refused(model) -> None:
    with pytest.raises(InvalidRequest, match="suppress_tokens: 99999 is not a token"):
        model.transcribe(np.zeros(16_000, np.float32), suppress_tokens=[-1, 99_999])


def test_names_of_faster_whisper() -> None:
    assert not parse({"vad_filter": False}).vad
    assert not parse({"without_timestamps": True}).timestamps
    assert parse({"without_timestamps": False}).timestamps
    parameters = parse({"vad_parameters": {"threshold": 0.6}}).vad_parameters
    assert parameters == VadOptions(threshold=0.6)
    assert parse({"clip_timestamps": "0"}).clip_timestamps == ()
    assert parse({"clip_timestamps": "1,2.5,7"}).clip_timestamps == (1.0, 2.5, 7.0)


@pytest.mark.fault("F48")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vad": True, "vad_filter": True}, "two names of one option"),
        ({"timestamps": True, "without_timestamps": True}, "two names of one option"),
        ({"without_timestamp": True}, "did you mean without_timestamps"),
        ({"vad_filter": 1}, "vad_filter must be True or False"),
        ({"vad_parameters": {"treshold": 0.5}}, "did you mean threshold"),
        ({"vad_parameters": {}, "vad": False}, "vad is False"),
        ({"multilingual": True, "language": "de"}, "give one of them"),
        ({"hallucination_silence_threshold": 1.0}, "needs word_timestamps"),
        ({"clip_timestamps": "a,b"}, "expected seconds"),
        ({"clip_timestamps": [3, 2]}, "must rise"),
        ({"clip_timestamps": 3}, "expected a list"),
        ({"suppress_tokens": 3}, "expected a list"),
        ({"suppress_tokens": [-2]}, "from -1"),
        ({"repetition_penalty": 0}, "from 0.01"),
        ({"no_repeat_ngram_size": -1}, "from 0"),
        ({"language_detection_segments": 0}, "from 1"),
    ],
)
def test_what_an_option_may_not_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse(options)


def after(rules: Rules, said: list[int]) -> np.ndarray:
    logits = np.linspace(1, 2, SMALL.size, dtype=np.float32)
    rules.apply(logits, said)
    return logits


def test_suppressed_tokens_are_those_listed() -> None:
    mine = Rules(SMALL, timestamps=False, suppress=[7])
    assert after(mine, [3])[7] == -np.inf
    assert after(mine, [3])[1] > 0  # which only the model lists
    both = Rules(SMALL, timestamps=False, suppress=[-1, 7])
    assert after(both, [3])[7] == after(both, [3])[1] == -np.inf


def test_a_blank_may_come_first_where_it_is_not_suppressed() -> None:
    assert after(Rules(SMALL, timestamps=False), [])[5] == -np.inf
    assert after(Rules(SMALL, timestamps=False, suppress_blank=False), [])[5] > 0


def test_repetition_is_penalised() -> None:
    plain = after(Rules(SMALL, timestamps=False), [3, 9])
    punished = after(Rules(SMALL, timestamps=False, repetition_penalty=2.0), [3, 9])
    assert punished[3] == plain[3] / 2
    assert punished[9] == plain[9] / 2
    assert punished[4] == plain[4]


def test_no_ngram_comes_twice() -> None:
    rules = Rules(SMALL, timestamps=False, no_repeat_ngram_size=3)
    assert after(rules, [3, 4, 9, 3, 4])[9] == -np.inf
    assert after(rules, [3, 4, 9, 4])[9] > 0
    assert after(Rules(SMALL, timestamps=False, no_repeat_ngram_size=1), [9])[9] == -np.inf


def test_clips_are_all_that_is_transcribed(model: Model, sound: np.ndarray) -> None:
    found = model.transcribe(sound, **PLAIN, clip_timestamps=[0.5, 1.0, 2.0]).segments
    assert found
    for segment in found:
        assert 0.5 <= segment.start <= segment.end <= 1.0 or segment.start >= 2.0
    assert any(segment.start < 1 for segment in found)
    assert any(segment.start >= 2 for segment in found)
    alone = model.transcribe(sound[8_000:16_000], **PLAIN).segments
    assert alone[0].tokens == found[0].tokens


def test_the_first_window_begins_with_the_prefix(model: Model, sound: np.ndarray) -> None:
    found = model.transcribe(sound, **PLAIN, prefix="Well then")
    assert found.text.startswith("Well then")
    assert found.text.count("Well then") == 1


def test_a_text_that_is_cut_is_noted(model: Model, sound: np.ndarray) -> None:
    notes = model.transcribe(sound, **PLAIN, initial_prompt="x" * 100).notes
    assert notes == ("initial_prompt has 101 tokens; only its last 31 are used",)
    notes = model.transcribe(sound, **PLAIN, hotwords="x" * 100).notes
    assert notes == ("hotwords has 101 tokens; only its first 15 are used",)
    assert model.transcribe(sound, **PLAIN, initial_prompt="x").notes == ()


def test_parameters_of_the_detector_decide_what_is_speech(model: Model, sound: np.ndarray) -> None:
    options = PLAIN | {"vad": True}
    assert model.transcribe(sound, **options, vad_parameters={"threshold": 1.0}).segments == ()
    assert model.transcribe(sound, **options, vad_parameters={"threshold": 0.0}).segments
    with model.transcribe_live(**options, vad_parameters={"threshold": 0.0}) as live:
        assert live.feed(sound).pending or live.text or live.finish().segments


@pytest.mark.parametrize("options", [{"clip_timestamps": [1.0]}, {"prefix": "Well"}])
def test_what_is_for_recordings_alone(model: Model, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="is for recordings"):
        model.transcribe_live(**options)
