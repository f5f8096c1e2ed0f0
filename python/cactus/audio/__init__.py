"""From a sound file to what a speech model takes: decoding, voice activity, log-mel features."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cactus.audio.decode import AudioStream

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
