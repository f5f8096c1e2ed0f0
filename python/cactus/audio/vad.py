"""Where in a recording there is speech, while it comes in and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cactus.audio import Audio, open_input
from cactus.audio.decode import F32
from cactus.audio.gain import Gain
from cactus.audio.segmenter import Segmenter, Speech, VadOptions
from cactus.audio.silero import WINDOW, Silero

__all__ = [
    "Speech",
    "SpeechDetector",
    "SpeechFilter",
    "VadOptions",
    "detect_speech",
    "find_speech",
    "only_speech",
]


class SpeechDetector:
    """Turns the samples of one recording, as they come, into segments of speech, as they end."""

    def __init__(self, options: VadOptions | None = None) -> None:
        self._model, self._gain = Silero(), Gain(WINDOW)
        self._segments = Segmenter(options or VadOptions())
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: F32) -> list[Speech]:
        """Take more samples f32 [n]; the segments that are complete now."""
        self._rest = np.concatenate((self._rest, samples))
        whole = len(self._rest) - len(self._rest) % WINDOW
        windows, self._rest = self._rest[:whole], self._rest[whole:]
        return [
            speech
            for probability in self._model(self._gain(windows))
            for speech in self._segments.add(float(probability))
        ]

    def finish(self) -> list[Speech]:
        """The recording is over; the segments that are left. The detector is of no more use."""
        length = self._segments.position + len(self._rest)
        window = np.zeros(WINDOW, np.float32)
        window[: len(self._rest)] = self._rest
        return self._segments.finish(float(self._model(self._gain(window))[0]), length)

    @property
    def certain(self) -> Speech | None:
        """What is speech for sure of a segment that has not ended; its end will move on."""
        return self._segments.certain

    @property
    def needed_from(self) -> int:
        """No later segment begins before this sample."""
        return self._segments.needed_from


class SpeechFilter:
    """Takes the samples of one recording as they come, and gives those that are speech.

    No more is held than silence lasts, and with a finite `max_speech_duration_s`, a segment.
    """

    def __init__(self, options: VadOptions | None = None) -> None:
        self._detector = SpeechDetector(options)
        self._held = np.zeros(0, np.float32)
        self._base = self._given = 0  # the sample that is held first; up to where speech was given
        self.speaking = False
        """Whether a segment has been given in part: its end is still to come."""

    def feed(self, samples: F32) -> list[tuple[int, F32]]:
        """Take more samples f32 [n]; pieces f32 [n] of speech, each with the sample it begins at.

        They come as soon as they are certain; a segment may come in several, each beginning where
        the one before ended.
        """
        self._held = np.concatenate((self._held, samples))
        ended = self._detector.feed(samples)
        pieces = [self._piece(speech) for speech in ended]
        certain = self._detector.certain
        if certain:
            pieces.append(self._piece(certain))
        if ended or certain:
            self.speaking = certain is not None
        needed = max(self._detector.needed_from, self._given, self._base)
        self._held, self._base = self._held[needed - self._base :], needed
        return [each for each in pieces if len(each[1])]

    def finish(self) -> list[tuple[int, F32]]:
        """The recording is over; the pieces that are left. The filter is of no more use."""
        pieces = [self._piece(speech) for speech in self._detector.finish()]
        self.speaking = False
        return [each for each in pieces if len(each[1])]

    def _piece(self, speech: Speech) -> tuple[int, F32]:
        """What has not been given yet of a segment."""
        start = max(speech.start, self._given)
        self._given = max(self._given, speech.end)
        return start, self._held[start - self._base : max(start, speech.end) - self._base].copy()


def find_speech(blocks: Iterable[F32], options: VadOptions | None = None) -> Iterator[Speech]:
    """The segments of speech of a recording given as blocks f32 [n] at 16 kHz, in order."""
    detector = SpeechDetector(options)
    for block in blocks:
        yield from detector.feed(block)
    yield from detector.finish()


def only_speech(
    blocks: Iterable[F32], options: VadOptions | None = None
) -> Iterator[tuple[int, F32]]:
    """The samples that are speech: pieces f32 [n], each with the sample it begins at."""
    speech = SpeechFilter(options)
    for block in blocks:
        yield from speech.feed(block)
    yield from speech.finish()


def detect_speech(audio: Audio, *, sample_rate: int | None = None, **options: Any) -> list[Speech]:
    """The segments of speech of any audio, in order; no model but the one for this is needed.

    `audio` and `sample_rate` are those of `Model.transcribe`, `options` those of `VadOptions`.
    Raises InvalidAudio, and InvalidRequest naming an option.
    """
    wanted = VadOptions.parse(options)
    with open_input(audio, sample_rate) as blocks:
        return list(find_speech(blocks, wanted))
