"""From the probabilities of speech to segments of it, with faster-whisper's options and rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cactus.audio.decode import SAMPLE_RATE
from cactus.audio.silero import WINDOW
from cactus.errors import InvalidRequest
from cactus.inputs.checks import known

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

    The defaults are faster-whisper's, but for `min_speech_duration_ms`, there 0: noise makes
    windows probable one at a time, and the shortest words last 0.2 s.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 100
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

    @classmethod
    def parse(cls, given: VadOptions | Mapping[str, Any] | None) -> VadOptions:
        """The options of a caller: those by name, or the defaults for None.

        Raises InvalidRequest naming what is unknown or out of its range.
        """
        if given is None or isinstance(given, VadOptions):
            return given or cls()
        if not isinstance(given, Mapping):
            raise InvalidRequest(
                f"vad_parameters must be a dict or VadOptions, got {type(given).__name__}"
            )
        known(given, [field.name for field in fields(cls)])
        return cls(**given)

    @property
    def padding(self) -> float:
        """`speech_pad_ms` in samples."""
        return SAMPLE_RATE * self.speech_pad_ms / 1000


@dataclass(frozen=True)
class Speech:
    """A stretch of speech: samples [start, end) at 16 kHz, from the recording's beginning."""

    start: int
    end: int


class Segmenter:
    """From the probabilities of windows to segments; a sample is counted when its window is."""

    def __init__(self, options: VadOptions) -> None:
        self._options = options
        below = options.neg_threshold
        self._quiet = max(options.threshold - 0.15, 0.01) if below is None else below
        self._least = SAMPLE_RATE * options.min_speech_duration_ms / 1000
        self._silence = SAMPLE_RATE * options.min_silence_duration_ms / 1000
        self._most = SAMPLE_RATE * options.max_speech_duration_s - WINDOW - 2 * options.padding
        self.position = 0
        self._start: int | None = None  # of the segment that goes on
        self._quiet_from: int | None = None  # where it may have ended
        self._cut: int | None = None  # where it is cut when it grows too long
        self._after_cut: int | None = None  # where speech went on behind that
        self._waiting: Speech | None = None  # ended, its padding not yet known
        self._padded_start = 0  # of what is waiting, or else the least of what comes

    def add(self, probability: float) -> list[Speech]:
        """Take in one window; the segments that are complete now, padded."""
        ended = self._advance(probability)
        self.position += WINDOW
        done = self._queue(ended) if ended else []
        # Whatever comes begins at `following` or later: far enough behind, it changes nothing.
        following = self.position if self._start is None else self._start
        if self._waiting and (
            following - self._waiting.end >= 2 * self._options.padding or self._is_kept()
        ):
            done += self._release(following)
        return done

    def finish(self, probability: float, length: int) -> list[Speech]:
        """The recording ends at sample `length`, in this window; the segments that are left."""
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
        end = self.position if self._quiet_from is None else self._quiet_from
        return Speech(self._begin(self._start), end)

    @property
    def needed_from(self) -> int:
        """No later segment begins before this sample."""
        if self._waiting:
            return self._padded_start
        return self._begin(self.position if self._start is None else self._start)

    def _begin(self, start: int) -> int:
        """Where a segment from `start` begins when nothing is waiting before it."""
        return max(self._padded_start, int(max(0, start - self._options.padding)))

    def _is_kept(self) -> bool:
        """Whether the segment that goes on is too long already to be left out."""
        if self._start is None:
            return False
        end = self.position if self._quiet_from is None else self._quiet_from
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
        now, loud = self.position, probability >= self._options.threshold
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
