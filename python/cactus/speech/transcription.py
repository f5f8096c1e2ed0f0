"""One transcription from its sound to its end: its turn on the model, its segments, its result."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator

from cactus.audio.decode import AudioStream
from cactus.generate.metrics import resident_megabytes
from cactus.generate.turns import Call, Turns
from cactus.speech.engine import SpeechEngine
from cactus.speech.options import Options
from cactus.speech.transcribe import Transcriber
from cactus.types import Metrics, Segment, Transcription


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
        self._turns, self._call, self._audio, self._began = turns, call, audio, began
        self._transcriber = Transcriber(engine, audio, options, lambda: call.stopped)
        self._segments: list[Segment] = []
        self._waited = 0.0
        self._ended = self._abandoned = False
        self._finished: float | None = None

    def run(self) -> Transcription:
        """Transcribe to the end and return what was said."""
        events = self.events()
        try:
            for _ in events:
                pass
        finally:
            events.close()
        result = self.transcription
        assert result is not None
        return result

    @property
    def transcription(self) -> Transcription | None:
        """What was said, or what had been shown of it when its reader went away."""
        if not self._ended and not self._abandoned:
            return None
        return self._result()

    def events(self) -> Generator[Segment, None, None]:
        """Wait for the turn, listen, and yield the segments."""
        turns, call = self._turns, self._call
        try:
            if turns.enter(call):
                for segment in self._transcriber.segments():
                    self._segments.append(segment)
                    left = time.perf_counter()
                    turns.step_outside()
                    yield segment
                    turns.step_inside()
                    self._waited += time.perf_counter() - left
            if call.stopped:
                turns.cancel_if_closed()
            self._finished, self._ended = time.perf_counter(), True
        except GeneratorExit:  # the reader has had enough, or the interpreter is shutting down
            self._abandoned = True
            raise
        finally:
            self._audio.close()
            turns.leave(call)

    def _result(self) -> Transcription:
        work = self._transcriber
        total = (self._finished or time.perf_counter()) - self._began - self._waited
        first = work.first_token_at
        to_first = total if first is None else first - self._began
        decoding = max(total - to_first, 1e-9)
        return Transcription(
            segments=tuple(self._segments),
            language=work.language,
            language_probability=work.language_probability,
            duration=work.seconds,
            finish_reason="cancelled" if self._call.stopped or not self._ended else "stop",
            confidence=math.exp(work.average_logprob),
            notes=tuple(self._audio.notes),
            metrics=Metrics(
                time_to_first_token_ms=1000 * to_first,
                total_time_ms=1000 * total,
                prefill_tps=work.prompt_tokens / max(to_first, 1e-9),
                decode_tps=work.answer_tokens / decoding if work.answer_tokens else 0.0,
                ram_usage_mb=resident_megabytes(),
                prefill_tokens=work.prompt_tokens,
                decode_tokens=work.answer_tokens,
            ),
        )


class TranscriptionStream(Iterator[Segment]):
    """Segments of one transcription as they are found; ``transcription`` is there at the end."""

    def __init__(self, call: Call, run: TranscriptionRun) -> None:
        self._call, self._run, self._events = call, run, run.events()

    def __iter__(self) -> Iterator[Segment]:
        return self

    def __next__(self) -> Segment:
        self._call.move_here()
        return next(self._events)

    @property
    def seconds(self) -> float:
        """How much of the sound has been listened to."""
        return self._run._transcriber.seconds

    def stop(self) -> None:
        """End the transcription soon; the rest of the stream is still readable."""
        self._call.stopped = True

    def close(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        self._call.stopped = True
        self._events.close()

    @property
    def transcription(self) -> Transcription | None:
        """The whole result; None while the stream is still running, and after a failure."""
        return self._run.transcription

    def __enter__(self) -> TranscriptionStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
