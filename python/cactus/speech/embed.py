"""A sound as one vector: the mean of what the encoder says of it."""

from __future__ import annotations

import numpy as np

from cactus.audio.decode import AudioStream
from cactus.errors import InvalidAudio
from cactus.models.whisper import FRAMES_PER_ROW
from cactus.speech.engine import SpeechEngine
from cactus.speech.window import HOP, Windows, until
from cactus.stop_flag import StopFlag


def embed(engine: SpeechEngine, audio: AudioStream, stop: StopFlag) -> list[float]:
    """[hidden_size] floats: the mean over the states of real sound, not of the silence behind it.

    Raises InvalidAudio for a sound shorter than a state (20 ms), Cancelled when it is stopped.
    """
    windows = Windows(until(stop, audio), engine.window_samples)
    total, count, start = np.zeros(engine.config.hidden_size), 0, 0
    with engine.decoder.session() as session:
        while True:
            samples = windows.at(start)
            rows = len(samples) // HOP // FRAMES_PER_ROW
            if rows == 0:
                break
            states = engine.hear(session, samples, states=True, stop=stop)
            assert states is not None
            total += states[:rows].sum(axis=0, dtype=np.float64)
            count += rows
            start += engine.window_samples
    if count == 0:
        raise InvalidAudio("the sound is shorter than 20 ms, which is the least that has a state")
    return [float(value) for value in total / count]
