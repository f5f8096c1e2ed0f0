"""Calls that listen to a recording: each holds its audio, and a transcription its segments."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

from cactus.audio.decode import AudioStream
from cactus.calls.run import GeneratorRun
from cactus.calls.stopwatch import Stopwatch
from cactus.calls.turns import Call, Turns
from cactus.speech.batch import BatchTranscriber
from cactus.speech.engine import SpeechEngine
from cactus.speech.options import Options
from cactus.speech.transcribe import Transcriber
from cactus.types import Segment, Transcription

E = TypeVar("E")
R = TypeVar("R")


class AudioRun(GeneratorRun[E, R]):
    """A run that listens to `audio`, which is closed at its end."""

    def __init__(
        self,
        turns: Turns,
        call: Call,
        audio: AudioStream,
        work: Generator[E | None, None, R | None],
        watch: Stopwatch | None = None,
    ) -> None:
        super().__init__(turns, call, work, watch)
        self._audio = audio

    def _let_go(self) -> None:
        super()._let_go()
        self._audio.close()


class TranscriptionRun(AudioRun[Segment, Transcription]):
    """One transcription: its events are the segments. `began` is when it was asked for."""

    def __init__(
        self,
        engine: SpeechEngine,
        turns: Turns,
        call: Call,
        audio: AudioStream,
        options: Options,
        began: float,
    ) -> None:
        watch = Stopwatch(time.perf_counter() - began)
        transcriber = BatchTranscriber if options.batch_size > 1 else Transcriber
        self._transcriber = transcriber(engine, options, call.flag, watch)
        self._segments: list[Segment] = []
        # Not a method: no cycle keeps one alive that was dropped, and its file open.
        work = _remembering(self._transcriber.segments(audio), self._segments)
        super().__init__(turns, call, audio, work, watch)

    @property
    def seconds(self) -> float:
        """How much of the audio has been transcribed, at the end with the silence there."""
        whole = self._ended and not self.call.stopped
        return self._audio.seconds if whole else self._transcriber.seconds

    @property
    def duration(self) -> float | None:
        """How long the audio is, as its header says; None where nothing does."""
        return self._audio.duration

    def _result(self) -> Transcription:
        work = self._transcriber
        return Transcription(
            segments=tuple(self._segments),
            language=work.main_language,
            language_probability=work.language_probability,
            duration=self.seconds,
            finish_reason="cancelled" if self.call.stopped or not self._ended else "stop",
            confidence=work.confidence,
            notes=(*self._audio.notes, *work.notes),
            metrics=work.metrics,
        )


def _remembering(
    found: Generator[Segment | None, None, None], segments: list[Segment]
) -> Generator[Segment | None, None, None]:
    with closing(found):
        for segment in found:
            if segment is not None:
                segments.append(segment)
            yield segment
