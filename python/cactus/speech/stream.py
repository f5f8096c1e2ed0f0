"""The stream of a transcription's segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cactus.calls.aio import AsyncEventStream
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call
from cactus.types import Segment, Transcription

if TYPE_CHECKING:
    from cactus.speech.transcription import TranscriptionRun


class TranscriptionStream(EventStream[Segment]):
    """Segments of one transcription as they are found; ``transcription`` is there at the end."""

    def __init__(self, run: TranscriptionRun) -> None:
        self._transcribing = run
        super().__init__(run)

    def __repr__(self) -> str:
        return f"<TranscriptionStream at {self.seconds:.2f} s of {self.duration or '?'}>"

    @property
    def seconds(self) -> float:
        """How much of the audio has been transcribed."""
        return self._transcribing.seconds

    @property
    def duration(self) -> float | None:
        """How long the audio is, as its header says; None where nothing does."""
        return self._transcribing.duration

    @property
    def transcription(self) -> Transcription | None:
        """The whole result; None while the stream is still running, and after a failure."""
        return self._transcribing.result


class AsyncTranscriptionStream(AsyncEventStream[Segment]):
    """Segments for ``async for``; ``transcription`` is there at the end."""

    def __init__(self, start: Callable[[Call], TranscriptionRun]) -> None:
        super().__init__(start)
        self._transcribe = start
        self._transcribing: TranscriptionRun | None = None

    @property
    def transcription(self) -> Transcription | None:
        """The whole result; None while the stream is still running, and after a failure."""
        return None if self._transcribing is None else self._transcribing.result

    def _make(self) -> TranscriptionRun:
        self._transcribing = self._transcribe(self._call)
        return self._transcribing
