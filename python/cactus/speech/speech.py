"""What a speech model does for its callers: every transcription begins here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from cactus.audio import Audio, open_input
from cactus.calls.turns import Call, Turns
from cactus.engine.base import Worker
from cactus.engine.loaded import Loaded
from cactus.speech.detection import detect_language
from cactus.speech.embed import embed
from cactus.speech.engine import SpeechEngine
from cactus.speech.live import LiveTranscription
from cactus.speech.options import Options, parse
from cactus.speech.transcription import AudioRun, TranscriptionRun
from cactus.types import DetectedLanguage


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
        return TranscriptionRun(self.engine, self._turns, call, stream, checked, began)

    def live(self, interval: float, options: Mapping[str, Any]) -> LiveTranscription:
        """A transcription of audio that is still being made."""
        return LiveTranscription(self.engine, self._turns, self._options(options), interval)

    def detection(
        self, audio: Audio, sample_rate: int | None, options: Mapping[str, Any], call: Call
    ) -> AudioRun[float, DetectedLanguage]:
        """The run that finds the language of a recording."""
        checked = parse(options)
        stream = open_input(audio, sample_rate)
        work = detect_language(self.engine, stream, checked, call.flag)
        return AudioRun(self._turns, call, stream, work)

    def embedding(
        self, audio: Audio, sample_rate: int | None, call: Call
    ) -> AudioRun[float, list[float]]:
        """The run that makes a vector of a recording."""
        stream = open_input(audio, sample_rate)
        return AudioRun(self._turns, call, stream, embed(self.engine, stream, call.flag))

    def _options(self, options: Mapping[str, Any]) -> Options:
        checked = parse(options)
        self.engine.check(checked)
        return checked
