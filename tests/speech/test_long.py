"""Long recordings of speech with silence between, and long sounds in which nobody speaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.audio.decode import SAMPLE_RATE, open_audio
from tests.assets import TRANSCRIPTS, TWO_CITIES
from tests.speech.test_whisper_base import words

# Where windows of 30 seconds end: in the middle of a sentence, and of a pause.
ORDER = ("librivox_0870.wav", "two_cities.wav", "librivox_0890.wav", "librivox_0920.wav")
GAPS = (1.0, 0.7, 12.0, 2.0)
SECONDS = 60
SAID = {**TRANSCRIPTS, "two_cities.wav": TWO_CITIES}
# Where somebody begins to speak in each, to within a tenth of a second.
ONSETS = {
    "librivox_0870.wav": 0.3,
    "two_cities.wav": 1.2,
    "librivox_0890.wav": 0.29,
    "librivox_0920.wav": 0.33,
}


@pytest.fixture(scope="module")
def model(whisper_base_int8: Path) -> Iterator[Model]:
    with Model(whisper_base_int8) as loaded:
        yield loaded


@pytest.mark.parametrize("vad", [True, False])
def test_nothing_is_lost_repeated_or_misplaced(model: Model, voices: Path, vad: bool) -> None:
    parts, onsets, length = [], [], 0
    for name, gap in zip(ORDER, GAPS, strict=True):
        with open_audio(voices / name) as stream:
            sound = stream.read()
        onsets.append(length / SAMPLE_RATE + ONSETS[name])
        parts += [sound, np.zeros(round(gap * SAMPLE_RATE), np.float32)]
        length += len(sound) + len(parts[-1])
    result = model.transcribe(
        np.concatenate(parts), vad=vad, beam_size=1, language="en", word_timestamps=True
    )
    said = [word for name in ORDER for word in words(SAID[name])]
    heard = words(result.text)
    same = sum(
        b.size for b in SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    )
    assert max(len(said), len(heard)) - same <= 0.02 * len(said)
    times = [time for s in result.segments for time in (s.start, s.end)]
    assert times == sorted(times)
    begins = [word.start for s in result.segments for word in s.words or ()]
    for onset in onsets:
        assert min(abs(begin - onset) for begin in begins) < 0.5
    assert result.duration == pytest.approx(length / SAMPLE_RATE, abs=0.5 if not vad else 13)


def sounds() -> dict[str, Any]:
    """A minute of each."""
    random, count = np.random.default_rng(0), SECONDS * SAMPLE_RATE
    white = random.standard_normal(count)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), count)
    # An arpeggio over a bass, as a synthesiser plays it.
    time = np.arange(count) / SAMPLE_RATE
    pitch = 220 * 2 ** (np.array([0, 4, 7, 12, 7, 4, 5, 9]) / 12)
    phase = 2 * np.pi * np.cumsum(pitch[(time / 0.4).astype(int) % 8]) / SAMPLE_RATE
    tones = np.exp(-3 * (time % 0.4)) * sum(np.sin(n * phase) / n for n in (1, 2, 3, 4))
    tones += np.sin(2 * np.pi * 110 * time) / 3
    return {
        "white noise": 0.05 * white,
        "faint noise": 0.0005 * white,
        "pink noise": pink / np.abs(pink).max(),
        "tones": 0.3 * tones,
    }


@pytest.mark.fault("F46")
@pytest.mark.parametrize(("name", "sound"), sounds().items())
def test_nothing_is_transcribed_where_nobody_speaks(model: Model, name: str, sound: Any) -> None:
    sound = sound.astype(np.float32)
    found = model.transcribe(sound)
    assert (found.segments, found.text) == ((), "")
    # Without a detector the model may be wrong, but it does not go on and on.
    found = model.transcribe(sound[: 30 * SAMPLE_RATE], vad=False, beam_size=1, language="en")
    assert len(found.segments) <= 2
    for segment in found.segments:
        assert Counter(words(segment.text)).most_common(1)[0][1] <= 3


@pytest.mark.fault("F46")
@pytest.mark.parametrize("name", ["white noise", "pink noise"])
@pytest.mark.parametrize("seconds", [0.05, 14])
@pytest.mark.parametrize("vad", [True, False])
def test_noise_says_nothing_in_any_language(
    model: Model, name: str, seconds: float, vad: bool
) -> None:
    noise = sounds()[name][: round(seconds * SAMPLE_RATE)].astype(np.float32)
    assert model.transcribe(noise, vad=vad).segments == ()


@pytest.mark.parametrize("vad", [True, False])
def test_short_words_are_words(model: Model, voices: Path, vad: bool) -> None:
    """Half a second of two words is all there is."""
    found = model.transcribe(str(voices / "cards_004.wav"), vad=vad, language="en")
    assert set(words(found.text)) <= {"five", "5"} and found.text
