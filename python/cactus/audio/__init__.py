"""From an audio file to what a speech model takes: decoding, voice activity, log-mel features."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cactus.audio.stream import AudioStream

Audio = str | os.PathLike[str] | bytes | IO[bytes] | Any
"""A path, a file's bytes or file object, raw samples, an array of them, or an AudioStream."""


def open_input(audio: Audio, sample_rate: int | None = None) -> AudioStream:
    """The audio as blocks at 16 kHz. With `sample_rate` bytes are raw s16le samples.

    What is a stream already is returned as it is. Raises InvalidAudio.
    """
    from cactus.audio.decode import open_audio, open_pcm
    from cactus.audio.stream import SAMPLE_RATE, AudioStream

    if isinstance(audio, AudioStream):
        return audio
    file = isinstance(audio, (str, bytes, bytearray, memoryview, os.PathLike))
    if (file or callable(getattr(audio, "read", None))) and sample_rate is None:
        return open_audio(audio)
    return open_pcm(audio, SAMPLE_RATE if sample_rate is None else sample_rate)
