"""One transcription from its audio to its end: its turn on the model, its segments, its result."""

from __future__ import annotations

import time
from collections.abc import Generator

from cactus.audio.decode import AudioStream
from cactus.calls.stopwatch import Stopwatch
from cactus.calls.stream import drain
from cactus.calls.turns import Call, Turns
from cactus.errors import Cancelled, ReentrantCall
from cactus.speech.engine import SpeechEngine
from cactus.speech.options import Options
from cactus.speech.transcribe import Transcriber
from cactus.types import Segment, Transcription


class TranscriptionRun:
    """Drives one transcription. ``events()`` may be read once; then ``transcription`` is there.

    It stays None when the transcription failed, and until it has ended.
    """

    def __init__(
        self,
        engine: SpeechEngine,
        turns: Turns,
        call: Call,
        audio: AudioStream,
        options: Options,
        began: float,
    ) -> None:
        self._turns, self._call, self._audio = turns, call, audio
        self._watch = Stopwatch(time.perf_counter() - began)
        self._transcriber = Transcriber(engine, options, call.flag, self._watch)
        self._work = self._transcriber.segments(audio)
        self._segments: list[Segment] = []
        self._begun = self._ended = self._abandoned = False

    def run(self) -> Transcription:
        """Transcribe to the end and return what was said."""
        drain(self.events())
        result = self.transcription
        assert result is not None
        return result

    @property
    def seconds(self) -> float:
        """How much of the audio has been transcribed, at the end with the silence there."""
        whole = self._ended and not self._call.stopped
        return self._audio.seconds if whole else self._transcriber.seconds

    @property
    def duration(self) -> float | None:
        """How long the audio is, as its header says; None where nothing does."""
        return self._audio.duration

    @property
    def transcription(self) -> Transcription | None:
        """What was said, or what had been shown of it when its reader went away."""
        if not self._ended and not self._abandoned:
            return None
        return self._result()

    def events(self) -> Generator[Segment, None, None]:
        """Yield the segments; the engine is free for others between two of them."""
        turns = self._turns
        refused = False
        try:
            if not self._begun:
                turns.check()
                self._begun = True
            while (segment := self._next()) is not None:
                self._segments.append(segment)
                yield segment
            self._ended = True
        except Cancelled:  # by stop(), and what was found counts; or by close()
            turns.cancel_if_closed()
            self._ended = True
        except ReentrantCall:  # it may be read on later
            refused = True
            raise
        except GeneratorExit:  # the reader has had enough, or the interpreter is shutting down
            self._abandoned = True
            raise
        finally:
            if not refused:
                self._work.close()
                self._audio.close()
                turns.leave(self._call)

    def _next(self) -> Segment | None:
        """The next segment, once the engine works for this call; None at the end."""
        try:
            if not self._turns.enter(self._call):
                return None
            self._watch.start()
            return next(self._work, None)
        finally:
            self._watch.pause()
            self._turns.exit(self._call)

    def close_unread(self) -> None:
        """Let go of the audio where nobody has asked for an event, and nobody will."""
        if not self._begun:
            self._audio.close()

    def _result(self) -> Transcription:
        work = self._transcriber
        return Transcription(
            segments=tuple(self._segments),
            language=work.main_language,
            language_probability=work.language_probability,
            duration=self.seconds,
            finish_reason="cancelled" if self._call.stopped or not self._ended else "stop",
            confidence=work.confidence,
            notes=(*self._audio.notes, *work.notes),
            metrics=work.metrics,
        )
