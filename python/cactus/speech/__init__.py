"""Speech to text: Whisper's prompts, rules and searches, and recordings of any length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cactus.audio.decode import AudioStream

ARCHITECTURES = frozenset({"whisper"})
"""The ``model_type`` values that listen; all others chat."""

Audio = str | os.PathLike[str] | bytes | IO[bytes] | Any
"""A sound: a path, a file's bytes or file object, raw samples, or an array of them."""


def open_sound(audio: Audio, sample_rate: int | None = None) -> AudioStream:
    """The sound as blocks at 16 kHz. With `sample_rate` bytes are raw s16le samples.

    Raises InvalidAudio.
    """
    from cactus.audio.decode import SAMPLE_RATE, open_audio, open_pcm

    file = isinstance(audio, (str, bytes, bytearray, memoryview, os.PathLike))
    if (file or callable(getattr(audio, "read", None))) and sample_rate is None:
        return open_audio(audio)
    return open_pcm(audio, SAMPLE_RATE if sample_rate is None else sample_rate)


def is_speech_model(folder: Path) -> bool:
    """Whether a weights folder holds a speech model; False where that cannot be read."""
    from cactus.errors import CactusError
    from cactus.weights.files import read_json

    try:
        return read_json(folder / "config.json").get("model_type") in ARCHITECTURES
    except CactusError:  # whoever loads it says what is wrong with it
        return False
