"""From the audio that a client sends to turns: samples at 16 kHz, and who speaks when."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.audio.gain import Gain
from cactus.audio.segmenter import Segmenter, Speech, VadOptions
from cactus.audio.silero import WINDOW, Silero
from cactus.server.errors import ApiError
from cactus.server.openai.realtime.events import TurnDetection

_SUBTYPES = {"audio/pcmu": "ULAW", "audio/pcma": "ALAW"}


class Sound:
    """What is sent, as samples f32 at 16 kHz: the same however it was cut into messages."""

    def __init__(self, format: str, rate: int) -> None:
        import soxr

        self._format = format
        self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def feed(self, data: bytes) -> F32:
        """The next samples. Raises ApiError for half a sample."""
        made: F32 = self._resampler.resample_chunk(_samples(data, self._format))
        return made

    def finish(self) -> F32:
        """The samples that are left."""
        made: F32 = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        return made


def _samples(data: bytes, format: str) -> F32:
    if not data:
        return np.zeros(0, np.float32)
    if format == "audio/pcm":
        if len(data) % 2:
            raise ApiError(
                400,
                f"audio has {len(data)} bytes, expected 16-bit samples: an even number",
                code="invalid_value",
                param="audio",
            )
        return np.asarray(np.frombuffer(data, "<i2") / 32768, np.float32)
    import soundfile

    raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": _SUBTYPES[format]}
    samples: F32 = soundfile.read(io.BytesIO(data), dtype="float32", **raw)[0]
    return samples


@dataclass(frozen=True)
class Begin:
    """Somebody begins to speak, at this sample of all."""

    at: int


@dataclass(frozen=True)
class End:
    """They stop."""

    at: int


class Turns:
    """Takes samples as they come; when somebody speaks, what they say, and when they stop.

    `position`: the sample of all that comes first.
    """

    def __init__(self, options: TurnDetection, position: int = 0) -> None:
        self._model, self._gain = Silero(), Gain(WINDOW)
        self._segments = Segmenter(
            VadOptions(
                threshold=options.threshold,
                min_silence_duration_ms=options.silence_duration_ms,
                speech_pad_ms=options.prefix_padding_ms,
            )
        )
        self._first = position
        self._rest = self._held = np.zeros(0, np.float32)  # not judged yet; not given yet
        self._base = self._given = 0  # the sample that is held first; up to where speech was given
        self._open = False

    def feed(self, samples: F32) -> Iterator[Begin | F32 | End]:
        """More samples, of any number."""
        self._held = np.concatenate((self._held, samples))
        self._rest = np.concatenate((self._rest, samples))
        whole = len(self._rest) - len(self._rest) % WINDOW
        windows, self._rest = self._rest[:whole], self._rest[whole:]
        for probability in self._model(self._gain(windows)):
            # A window at a time: several could end a turn and begin another one.
            for speech in self._segments.add(float(probability)):
                yield from self._turn(speech, whole=True)
            certain = self._segments.certain
            if certain is not None:
                yield from self._turn(certain, whole=False)
        needed = max(self._segments.needed_from, self._given, self._base)
        self._held, self._base = self._held[needed - self._base :], needed

    def finish(self) -> Iterator[Begin | F32 | End]:
        """What is left where no more samples come; this is of no more use then."""
        length = self._segments.position + len(self._rest)
        window = np.zeros(WINDOW, np.float32)
        window[: len(self._rest)] = self._rest
        probability = float(self._model(self._gain(window))[0])
        for speech in self._segments.finish(probability, length):
            yield from self._turn(speech, whole=True)

    def _turn(self, speech: Speech, *, whole: bool) -> Iterator[Begin | F32 | End]:
        start = max(speech.start, self._given)
        if not self._open:
            self._open = True
            yield Begin(self._first + start)
        piece = self._held[start - self._base : max(start, speech.end) - self._base]
        self._given = max(self._given, speech.end)
        if len(piece):
            yield piece.copy()
        if whole:
            self._open = False
            yield End(self._first + speech.end)
