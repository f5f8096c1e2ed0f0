"""A recording as one vector: the mean of the encoder's states."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from cactus.audio.decode import SAMPLE_RATE, AudioStream
from cactus.calls.stop_flag import StopFlag
from cactus.errors import InvalidAudio
from cactus.models.whisper import FRAMES_PER_ROW
from cactus.speech.engine import SpeechEngine
from cactus.speech.window import HOP, Windows, stoppable


def embed(
    engine: SpeechEngine, audio: AudioStream, stop: StopFlag
) -> Generator[float, None, list[float]]:
    """[hidden_size] floats: the mean over the states of real audio, not of the silence behind it.

    Yields the seconds that are done, after each window. Raises InvalidAudio for audio shorter than
    a state (20 ms), Cancelled when it is stopped.
    """
    windows = Windows(stoppable(stop, audio), engine.window_samples)
    total, count, start = np.zeros(engine.config.hidden_size), 0, 0
    with engine.decoder.session() as session:
        while True:
            samples = windows.at(start)
            rows = len(samples) // HOP // FRAMES_PER_ROW
            if rows == 0:
                break
            states = engine.encode(session, samples, states=True, stop=stop)
            assert states is not None
            total += states[:rows].sum(axis=0, dtype=np.float64)
            count += rows
            start += engine.window_samples
            yield (start - engine.window_samples + len(samples)) / SAMPLE_RATE
    if count == 0:
        raise InvalidAudio("the audio is shorter than 20 ms, and a state takes that much")
    return [float(value) for value in total / count]
