"""The stream of a transcription's segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cactus.calls.aio import AsyncEventStream
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call
from cactus.types import Segment, Transcription

if TYPE_CHECKING:
    from cactus.speech.transcription import TranscriptionRun


class TranscriptionStream(EventStream[Segment]):
    """Segments of one transcription as they are found; ``transcription`` is there at the end."""

    def __init__(self, call: Call, run: TranscriptionRun) -> None:
        self._run = run
        super().__init__(call, run.events)

    def __repr__(self) -> str:
        return f"<TranscriptionStream at {self.seconds:.2f} s of {self.duration or '?'}>"

    def close(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        super().close()
        self._run.close_unread()

    @property
    def seconds(self) -> float:
        """How much of the audio has been transcribed."""
        return self._run.seconds

    @property
    def duration(self) -> float | None:
        """How long the audio is, as its header says; None where nothing does."""
        return self._run.duration

    @property
    def transcription(self) -> Transcription | None:
        """The whole result; None while the stream is still running, and after a failure."""
        return self._run.transcription


class AsyncTranscriptionStream(AsyncEventStream[Segment]):
    """Segments for ``async for``; ``transcription`` is there at the end."""

    @property
    def transcription(self) -> Transcription | None:
        """The whole result; None while the stream is still running, and after a failure."""
        return self._transcribing.transcription if self._transcribing else None

    def _close(self) -> None:
        super()._close()
        if self._transcribing:
            self._transcribing.close_unread()

    @property
    def _transcribing(self) -> TranscriptionRun | None:
        return cast("TranscriptionRun | None", self._run)
