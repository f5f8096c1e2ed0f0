"""The recordings of the speech benchmarks: what is said in them, and long ones joined of them.

All are 16 kHz WAV files of 16 bits, which every side reads without help. They are made once, in the
cache folder, and always the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from runner import REPOSITORY, cache_folder

from cactus.audio.decode import SAMPLE_RATE, open_audio
from cactus.audio.vad import VadOptions, find_speech
from cactus.weights.hub.package_folder import fetch_package_folder

sys.path.append(str(REPOSITORY))

from tests.assets import TRANSCRIPTS, TWO_CITIES, VOICES

TEXTS = {
    "two_cities.wav": TWO_CITIES,
    **{name: text for name, text in TRANSCRIPTS.items() if name.startswith("librivox")},
}
"""The recordings whose word error rate counts, and what is said in them."""

SHORT, MIDDLE, LONG = "10 s", "44 s", "10 min"
_TIGHT = VadOptions(speech_pad_ms=0)

GAPS = (0.7, 3.0, 1.2, 12.0, 2.0, 0.4, 35.0, 5.0)
"""Seconds of silence between the clips of the file with silence, in turn."""


def voices() -> Path:
    """The folder of the recordings as they are published."""
    return fetch_package_folder(VOICES, cache_folder() / "voices")


def plain(name: str) -> Path:
    """A recording at 16 kHz."""
    path = cache_folder() / "speech" / name
    if not path.exists():
        with open_audio(voices() / name) as stream:
            _write(path, stream.read())
    return path


def joined(seconds: int) -> Path:
    """All recordings one after another, a second of silence between them, until it is enough."""
    path = cache_folder() / "speech" / f"joined-{seconds}.wav"
    if not path.exists():
        sound, _ = _join(seconds, (1.0,))
        _write(path, sound)
    return path


def with_silence(seconds: int) -> tuple[Path, list[tuple[str, float, float]]]:
    """The recordings with silence of many lengths between them; (name, start, end) of each."""
    path = cache_folder() / "speech" / f"silence-{seconds}.wav"
    sound, places = _join(seconds, GAPS)
    if not path.exists():
        _write(path, sound)
    return path, places


def onset(name: str) -> float:
    """Seconds into a recording where somebody begins to speak."""
    speech = next(find_speech([soundfile.read(plain(name), dtype="float32")[0]], _TIGHT))
    return speech.start / SAMPLE_RATE


def _join(seconds: int, gaps: Sequence[float]) -> tuple[Any, list[tuple[str, float, float]]]:
    parts: list[Any] = []
    places: list[tuple[str, float, float]] = []
    length = 0
    while length < seconds * SAMPLE_RATE:
        name = list(TEXTS)[len(places) % len(TEXTS)]
        sound, _ = soundfile.read(plain(name), dtype="int16")
        places.append((name, length / SAMPLE_RATE, (length + len(sound)) / SAMPLE_RATE))
        silence = np.zeros(round(gaps[(len(places) - 1) % len(gaps)] * SAMPLE_RATE), np.int16)
        parts += [sound, silence]
        length += len(sound) + len(silence)
    return np.concatenate(parts), places


def _write(path: Path, sound: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if sound.dtype != np.int16:
        sound = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
    partial = path.with_suffix(".partial")
    soundfile.write(partial, sound, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    partial.replace(path)
