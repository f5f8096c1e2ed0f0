"""What a speech model does for its callers: every transcription begins here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from cactus.audio import Audio, open_input
from cactus.audio.decode import AudioStream
from cactus.calls.turns import Call, Turns
from cactus.engine.base import Worker
from cactus.engine.loaded import Loaded
from cactus.errors import Cancelled
from cactus.speech.detection import detect_language
from cactus.speech.embed import embed
from cactus.speech.engine import SpeechEngine
from cactus.speech.live import LiveTranscription
from cactus.speech.options import Options, parse
from cactus.speech.transcription import TranscriptionRun
from cactus.types import DetectedLanguage

T = TypeVar("T")


class Speech(Worker):
    """Checks options, opens the audio, and makes the runs that listen to it.

    Whoever calls has seen to it that the model is open and has the ability.
    """

    def __init__(self, engine: Loaded, turns: Turns, owned: ExitStack) -> None:
        super().__init__(engine, turns, owned)
        self.engine = SpeechEngine.of(engine)

    def transcription(
        self, audio: Audio, sample_rate: int | None, options: Mapping[str, Any], call: Call
    ) -> TranscriptionRun:
        """The run that transcribes a recording."""
        began = time.perf_counter()
        checked = self._options(options)
        stream = open_input(audio, sample_rate)
        self._turns.register(call)
        return TranscriptionRun(self.engine, self._turns, call, stream, checked, began)

    def live(self, interval: float, options: Mapping[str, Any]) -> LiveTranscription:
        """A transcription of audio that is still being made."""
        return LiveTranscription(self.engine, self._turns, self._options(options), interval)

    def detect_language(
        self, audio: Audio, sample_rate: int | None, options: Mapping[str, Any], call: Call
    ) -> DetectedLanguage:
        """The language of a recording."""
        checked = parse(options)
        return self._listen(
            audio,
            sample_rate,
            call,
            lambda stream: detect_language(self.engine, stream, checked, call.flag),
        )

    def embed(self, audio: Audio, sample_rate: int | None, call: Call) -> list[float]:
        """A recording as one vector."""
        return self._listen(
            audio, sample_rate, call, lambda stream: embed(self.engine, stream, call.flag)
        )

    def _options(self, options: Mapping[str, Any]) -> Options:
        checked = parse(options)
        self.engine.check(checked)
        return checked

    def _listen(
        self,
        audio: Audio,
        sample_rate: int | None,
        call: Call,
        work: Callable[[AudioStream], T],
    ) -> T:
        """What a piece of work on a recording finds, when it is its turn."""
        stream = open_input(audio, sample_rate)
        self._turns.register(call)
        try:
            if not self._turns.enter(call):
                raise Cancelled("stopped before the audio was read")
            return work(stream)
        finally:
            stream.close()
            self._turns.leave(call)
