"""Where in a sound there is speech, while it is being heard and in bounded memory.

The options, and the segments that follow from them, are faster-whisper's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cactus.audio import Audio, open_sound
from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.audio.silero import WINDOW, Silero
from cactus.errors import InvalidRequest
from cactus.generate.options import known

SHORT_SILENCE = 98 * SAMPLE_RATE // 1000
"""Samples of silence at which a segment that grows too long may be cut."""


@dataclass(frozen=True)
class VadOptions:
    """What counts as speech.

    A segment begins with a window as probable as `threshold` and ends before
    `min_silence_duration_ms` of windows below `neg_threshold` (0.15 below `threshold` if None).
    Segments of up to `min_speech_duration_ms` are left out; those beyond `max_speech_duration_s`
    are cut at their last silence of 98 ms, or where they are. Each gets `speech_pad_ms` more on
    either side; neighbours share what lies between them. Raises `InvalidRequest` naming a field.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 0
    max_speech_duration_s: float = math.inf
    min_silence_duration_ms: float = 2000
    speech_pad_ms: float = 400

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if "threshold" in field.name else math.inf
            if field.name == "neg_threshold" and value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= most:  # NaN fails here too
                raise InvalidRequest(
                    f"vad option {field.name} is {value!r}, expected a number from 0 to {most:g}"
                )
        if self.max_speech_duration_s * SAMPLE_RATE <= WINDOW + 2 * self.padding:
            raise InvalidRequest(
                f"vad option max_speech_duration_s is {self.max_speech_duration_s:g}, expected "
                f"more than twice speech_pad_ms ({self.speech_pad_ms:g} ms) and a window of 32 ms"
            )

    @property
    def padding(self) -> float:
        """`speech_pad_ms` in samples."""
        return SAMPLE_RATE * self.speech_pad_ms / 1000


@dataclass(frozen=True)
class Speech:
    """A stretch of speech: samples [start, end) at 16 kHz, counted from the sound's beginning."""

    start: int
    end: int


class SpeechDetector:
    """Turns the samples of one sound, as they come, into segments of speech, as they end."""

    def __init__(self, options: VadOptions | None = None) -> None:
        self._model = Silero()
        self._segments = Segmenter(options or VadOptions())
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: F32) -> list[Speech]:
        """Hear more samples f32 [n]; the segments that are complete now."""
        self._rest = np.concatenate((self._rest, samples))
        whole = len(self._rest) - len(self._rest) % WINDOW
        heard, self._rest = self._rest[:whole], self._rest[whole:]
        return [
            speech
            for probability in self._model(heard)
            for speech in self._segments.hear(float(probability))
        ]

    def finish(self) -> list[Speech]:
        """The sound is over; the segments that are left. The detector is of no more use."""
        length = self._segments.heard + len(self._rest)
        window = np.zeros(WINDOW, np.float32)
        window[: len(self._rest)] = self._rest
        return self._segments.finish(float(self._model(window)[0]), length)

    @property
    def certain(self) -> Speech | None:
        """What is speech for sure of a segment that has not ended; its end will move on."""
        return self._segments.certain

    @property
    def needed_from(self) -> int:
        """No later segment begins before this sample."""
        return self._segments.needed_from


class Segmenter:
    """From the probabilities of windows to segments; a sample is counted when its window is."""

    def __init__(self, options: VadOptions) -> None:
        self._options = options
        below = options.neg_threshold
        self._quiet = max(options.threshold - 0.15, 0.01) if below is None else below
        self._least = SAMPLE_RATE * options.min_speech_duration_ms / 1000
        self._silence = SAMPLE_RATE * options.min_silence_duration_ms / 1000
        self._most = SAMPLE_RATE * options.max_speech_duration_s - WINDOW - 2 * options.padding
        self.heard = 0
        self._start: int | None = None  # of the segment that goes on
        self._quiet_from: int | None = None  # where it may have ended
        self._cut: int | None = None  # where it is cut when it grows too long
        self._after_cut: int | None = None  # where speech went on behind that
        self._waiting: Speech | None = None  # ended, its padding not yet known
        self._padded_start = 0  # of what is waiting, or else the least of what comes

    def hear(self, probability: float) -> list[Speech]:
        """Take in one window; the segments that are complete now, padded."""
        ended = self._advance(probability)
        self.heard += WINDOW
        done = self._queue(ended) if ended else []
        # Whatever comes begins at `following` or later: far enough behind, it changes nothing.
        following = self.heard if self._start is None else self._start
        if self._waiting and (
            following - self._waiting.end >= 2 * self._options.padding or self._is_kept()
        ):
            done += self._release(following)
        return done

    def finish(self, probability: float, length: int) -> list[Speech]:
        """The sound ends at sample `length`, in the window given; the segments that are left."""
        ended = self._advance(probability)
        done = self._queue(ended) if ended else []
        if self._start is not None and length - self._start > self._least:
            done += self._queue(Speech(self._start, length))
        if self._waiting:
            end = int(min(length, self._waiting.end + self._options.padding))
            done.append(Speech(self._padded_start, end))
        return [Speech(speech.start, min(speech.end, length)) for speech in done]

    @property
    def certain(self) -> Speech | None:
        """What is speech for sure of a segment that has not ended; its end will move on."""
        if self._waiting or self._start is None or not self._is_kept():
            return None
        if not math.isinf(self._most):
            return None  # it may still be cut anywhere
        end = self.heard if self._quiet_from is None else self._quiet_from
        return Speech(self._begin(self._start), end)

    @property
    def needed_from(self) -> int:
        """No later segment begins before this sample."""
        if self._waiting:
            return self._padded_start
        return self._begin(self.heard if self._start is None else self._start)

    def _begin(self, start: int) -> int:
        """Where a segment from `start` begins when nothing is waiting before it."""
        return max(self._padded_start, int(max(0, start - self._options.padding)))

    def _is_kept(self) -> bool:
        """Whether the segment that goes on is too long already to be left out."""
        if self._start is None:
            return False
        end = self.heard if self._quiet_from is None else self._quiet_from
        return end - self._start > self._least

    def _queue(self, ended: Speech) -> list[Speech]:
        """A segment has ended; it waits for its padding, the one before has it now."""
        done = self._release(ended.start) if self._waiting else []
        if not done:
            self._padded_start = self._begin(ended.start)
        self._waiting = ended
        return done

    def _release(self, following: int) -> list[Speech]:
        """What was waiting, padded; the next segment begins at `following` or later."""
        assert self._waiting is not None
        padding, between = self._options.padding, following - self._waiting.end
        if between < 2 * padding:
            end, following = self._waiting.end + between // 2, following - between // 2
        else:
            end, following = int(self._waiting.end + padding), int(following - padding)
        done = Speech(self._padded_start, end)
        self._waiting, self._padded_start = None, max(0, following)
        return [done]

    def _advance(self, probability: float) -> Speech | None:
        """One window more; the segment that ends with it, without padding."""
        now, loud = self.heard, probability >= self._options.threshold
        if loud and self._quiet_from is not None:
            self._quiet_from = None
            if self._cut is not None and self._after_cut is None:
                self._after_cut = now
        if self._start is None:
            if loud:
                self._start = now
            return None
        ended = None
        if now - self._start > self._most:
            ended = Speech(self._start, now if self._cut is None else self._cut)
            self._start = self._after_cut
            cut = self._cut is not None
            self._quiet_from = self._cut = self._after_cut = None
            if not cut:
                return ended
        if probability < self._quiet and self._start is not None:
            if self._quiet_from is None:
                self._quiet_from = now
            if now - self._quiet_from > SHORT_SILENCE:
                self._cut, self._after_cut = self._quiet_from, None
            if now - self._quiet_from >= self._silence:
                if self._quiet_from - self._start > self._least:
                    ended = Speech(self._start, self._quiet_from)
                self._start = self._quiet_from = self._cut = self._after_cut = None
        return ended


class SpeechFilter:
    """Takes the samples of one sound as they come, and gives those that are speech.

    No more is held than silence lasts, and with a finite `max_speech_duration_s`, a segment.
    """

    def __init__(self, options: VadOptions | None = None) -> None:
        self._detector = SpeechDetector(options)
        self._held = np.zeros(0, np.float32)
        self._base = self._given = 0  # the sample that is held first; up to where speech was given
        self.speaking = False
        """Whether a segment has been given in part: its end is still to come."""

    def feed(self, samples: F32) -> list[tuple[int, F32]]:
        """Hear more samples f32 [n]; pieces f32 [n] of speech, each with the sample it begins at.

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
        """The sound is over; the pieces that are left. The filter is of no more use."""
        pieces = [self._piece(speech) for speech in self._detector.finish()]
        self.speaking = False
        return [each for each in pieces if len(each[1])]

    def _piece(self, speech: Speech) -> tuple[int, F32]:
        """What has not been given yet of a segment."""
        start = max(speech.start, self._given)
        self._given = max(self._given, speech.end)
        return start, self._held[start - self._base : max(start, speech.end) - self._base].copy()


def find_speech(blocks: Iterable[F32], options: VadOptions | None = None) -> Iterator[Speech]:
    """The segments of speech of a sound given as blocks f32 [n] at 16 kHz, in order."""
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
    """The segments of speech of any sound, in order; no model but the one for this is needed.

    `audio` and `sample_rate` are those of `Model.transcribe`, `options` those of `VadOptions`.
    Raises InvalidAudio, and InvalidRequest naming an option.
    """
    known(options, [field.name for field in fields(VadOptions)])
    wanted = VadOptions(**options)
    with open_sound(audio, sample_rate) as blocks:
        return list(find_speech(blocks, wanted))
