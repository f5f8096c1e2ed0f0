"""Segments of speech against faster-whisper's, in a stream, and what options may be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.audio import vad
from cactus.audio.decode import open_pcm
from cactus.audio.gain import Gain
from cactus.audio.segmenter import Segmenter, Speech, VadOptions
from cactus.audio.vad import SpeechDetector, detect_speech, find_speech, only_speech
from cactus.errors import InvalidRequest
from tests.audio.vad_cases import Case, cases

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vad.json").read_text())


@pytest.mark.parametrize("index", range(len(GOLDEN)))
def test_segments_are_those_of_faster_whisper(index: int) -> None:
    case = cases()[index]
    segmenter = Segmenter(VadOptions(**case.options))
    found: list[Speech] = []
    certain: list[Speech] = []
    needed = 0
    for probability in case.probabilities[:-1]:
        done = segmenter.add(probability)
        assert all(speech.start >= needed for speech in done)
        found += done
        assert segmenter.needed_from >= needed
        needed = segmenter.needed_from
        if segmenter.certain:
            certain.append(segmenter.certain)
    done = segmenter.finish(case.probabilities[-1], case.length)
    assert all(speech.start >= needed for speech in done)
    found += done
    assert [[speech.start, speech.end] for speech in found] == GOLDEN[index]
    for part in certain:
        assert any(speech.start == part.start and part.end <= speech.end for speech in found)


def test_the_golden_cases_have_segments_of_every_kind() -> None:
    assert sum(len(segments) for segments in GOLDEN) > 300
    assert any(not segments for segments in GOLDEN)
    certain = 0
    for case in cases():
        segmenter = Segmenter(VadOptions(**case.options))
        for probability in case.probabilities[:-1]:
            segmenter.add(probability)
            certain += segmenter.certain is not None
    assert certain > 1000


class Scripted:
    """Stands for the model: each window's first sample is its probability."""

    def __call__(self, samples: Any) -> Any:
        return samples[::512].copy()


class Unity:
    """Stands for the gain, which would change what `Scripted` reads."""

    def __init__(self, window: int) -> None:
        pass

    def __call__(self, samples: Any) -> Any:
        return samples


def scripted(case: Case) -> Any:
    """A sound that `Scripted` gives the probabilities of the case, each sample another number."""
    length = case.length + 512
    sound = np.random.default_rng(case.length).uniform(-1, 1, length).astype(np.float32)
    sound[: 512 * len(case.probabilities) : 512] = case.probabilities
    return sound[: case.length]


@pytest.mark.parametrize("index", range(0, len(GOLDEN), 5))
def test_a_stream_gives_the_samples_of_the_segments(
    index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vad, "Silero", Scripted)
    monkeypatch.setattr(vad, "Gain", Unity)
    case = cases()[index]
    sound, options = scripted(case), VadOptions(**case.options)
    random = np.random.default_rng(index)
    cuts = np.cumsum(random.integers(0, 3000, 200))
    blocks = np.split(sound, cuts[cuts < case.length])
    segments = [(speech.start, speech.end) for speech in find_speech(iter(blocks), options)]
    pieces = list(only_speech(iter(blocks), options))
    joined: list[tuple[int, int]] = []
    for start, samples in pieces:
        assert len(samples)
        assert np.array_equal(samples, sound[start : start + len(samples)])
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], start + len(samples)
        else:
            joined.append((start, start + len(samples)))
    touching: list[tuple[int, int]] = []
    for start, end in segments:
        if touching and touching[-1][1] == start:
            touching[-1] = touching[-1][0], end
        elif start < end:
            touching.append((start, end))
    assert joined == touching
    whole = list(find_speech([sound], options))
    assert [(speech.start, speech.end) for speech in whole] == segments


@pytest.mark.fault("F47")
def test_hours_of_speech_and_of_silence_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "Silero", Scripted)
    monkeypatch.setattr(vad, "Gain", Unity)
    for level in (0.9, 0.0):
        given = taken = most = 0

        def blocks(level: float = level) -> Iterator[Any]:
            nonlocal given
            for _ in range(3600):
                given += 16_000
                yield np.full(16_000, level, np.float32)

        for start, samples in only_speech(blocks()):
            taken = start + len(samples)
            most = max(most, given - taken)
        assert taken == (given if level else 0)
        assert most <= 2 * 16_000
    detector = SpeechDetector()
    for _ in range(100):
        detector.feed(np.zeros(16_000, np.float32))
    assert detector.needed_from >= 100 * 16_000 - 512 - 6400


@pytest.mark.fault("F46")
@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_silence_and_offsets_are_not_speech(value: float) -> None:
    assert list(find_speech(open_pcm(np.full(160_000, value, np.float32)))) == []


@pytest.mark.fault("F46")
def test_noise_and_tones_are_not_speech() -> None:
    random = np.random.default_rng(0)
    time = np.arange(160_000) / 16_000
    sounds = [
        random.normal(0, 0.1, 160_000),
        0.5 * np.sin(2 * np.pi * 440 * time),
        0.3 * np.sign(np.sin(2 * np.pi * 100 * time)),
    ]
    for sound in sounds:
        assert list(find_speech(open_pcm(sound))) == []


@pytest.mark.fault("F46")
@pytest.mark.parametrize("color", [0.0, 0.5, 1.0], ids=["white", "pink", "brown"])
@pytest.mark.parametrize("level", [-30, -50, -60, -70, -75, -80, -85, -90, -96])
def test_noise_that_is_raised_is_not_speech(color: float, level: float) -> None:
    random = np.random.default_rng(int(10 * color - level))
    count = 40 * 16_000
    spectrum = np.fft.rfft(random.standard_normal(count))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 800) ** color, count)
    noise *= 10 ** (level / 20) / noise.std()
    for sound in (noise, np.round(noise * 32768) / 32768):  # of 16 bits, some is mostly zero
        assert list(find_speech(open_pcm(sound))) == []


def test_one_window_alone_is_not_speech() -> None:
    """Noise makes single windows probable; the shortest words have six of them."""
    for windows, count in ((1, 0), (3, 0), (6, 1)):
        segmenter = Segmenter(VadOptions())
        found = []
        for probability in [0.0] * 10 + [0.9] * windows + [0.0] * 90:
            assert windows > 1 or segmenter.certain is None
            found += segmenter.add(probability)
        assert len(found + segmenter.finish(0.0, 200 * 512)) == count


@pytest.mark.parametrize("level", [-40.0, -25.0, 0.0])
def test_loud_audio_is_not_changed_for_the_detector(level: float) -> None:
    sound = np.full(8 * 512, 10 ** (level / 20) * 1.0001, np.float32)
    assert Gain(512)(sound) is sound
    assert Gain(512)(np.zeros(512, np.float32)).any() == False  # noqa: E712


def test_a_quiet_passage_is_raised_when_the_loud_one_is_some_time_ago() -> None:
    loud, quiet = (np.full(16_000 // 512 * 512, level, np.float32) for level in (0.1, 0.001))
    gain = Gain(512)
    assert np.array_equal(gain(loud), loud)
    assert np.array_equal(gain(np.tile(quiet, 3)), np.tile(quiet, 3))
    later = gain(np.tile(quiet, 10))
    assert later[-1] == pytest.approx(0.01, rel=1e-3)
    assert (np.diff(later) >= 0).all()
    assert np.array_equal(gain(loud), loud)  # at once


def test_the_gain_is_the_same_in_any_pieces() -> None:
    sound = np.random.default_rng(1).normal(0, 1e-3, 90 * 512).astype(np.float32)
    whole, gain = Gain(512)(sound), Gain(512)
    pieces = [gain(piece) for piece in np.split(sound, [512, 512 * 7, 512 * 60])]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert np.abs(whole).max() <= 0.1


def test_parameters_are_options_a_dict_or_nothing() -> None:
    assert VadOptions.parse(None) == VadOptions()
    assert VadOptions.parse({"threshold": 0.4}) == VadOptions(threshold=0.4)
    assert VadOptions.parse(VadOptions(threshold=0.4)) == VadOptions(threshold=0.4)
    with pytest.raises(InvalidRequest, match="unknown option 'treshold': did you mean threshold"):
        VadOptions.parse({"treshold": 0.4})
    with pytest.raises(InvalidRequest, match="vad_parameters must be a dict or VadOptions, got bo"):
        VadOptions.parse(True)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="threshold is 2"):
        detect_speech(np.zeros(9, np.float32), threshold=2)


@pytest.mark.parametrize("count", [0, 1, 160, 511, 512, 513])
def test_very_short_audio_is_not_speech(count: int) -> None:
    assert list(find_speech(open_pcm(np.zeros(count, np.float32)))) == []
    assert list(only_speech(open_pcm(np.zeros(count, np.float32)))) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threshold", 1.5),
        ("threshold", -0.1),
        ("threshold", math.nan),
        ("threshold", None),
        ("threshold", "0.5"),
        ("threshold", True),
        ("neg_threshold", 2),
        ("min_speech_duration_ms", -1),
        ("min_silence_duration_ms", math.nan),
        ("speech_pad_ms", -400),
        ("max_speech_duration_s", 0),
        ("max_speech_duration_s", 0.8),
    ],
)
def test_options_that_make_no_sense(option: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"vad option {option} is"):
        VadOptions(**{option: value})
