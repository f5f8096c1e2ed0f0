"""The methods of `Model` that listen: the public form of what `Speech` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cactus.audio import Audio
from cactus.calls.aio import run_alone
from cactus.calls.turns import Call
from cactus.compat import Unpack
from cactus.engine.base import ModelBase
from cactus.models.abilities import Ability
from cactus.speech.live import LiveTranscription
from cactus.speech.options import TranscribeOptions
from cactus.speech.stream import AsyncTranscriptionStream, TranscriptionStream
from cactus.types import DetectedLanguage, Transcription

if TYPE_CHECKING:
    from cactus.speech.speech import Speech


class SpeechMethods(ModelBase):
    """The methods of a model that listens to recordings."""

    def transcribe(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> Transcription:
        """What is said in a recording of any length.

        `audio`: a path, the bytes of a file or a binary file object (WAV, FLAC, OGG, MP3, ...), or
        samples as an array [n] (f32 within ±1, or int16). With `sample_rate` bytes are raw 16-bit
        mono samples; arrays without it are at 16 kHz.

        Options are those of faster-whisper: `language` (None: detected), `task` ("transcribe",
        "translate"), `beam_size` 5, `temperature`, `timestamps`, `word_timestamps`,
        `initial_prompt`, `hotwords`, `condition_on_previous_text`, `vad` ... (docs/speech.md).

        Raises InvalidAudio, InvalidRequest naming the option, UnsupportedModel for a model of text,
        Cancelled if the model is closed meanwhile, ReentrantCall, ModelClosed.
        """
        return self._speech().transcription(audio, sample_rate, options, Call()).run()

    def transcribe_stream(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> TranscriptionStream:
        """The segments of a recording as they are found; options and errors as in `transcribe`.

        Read it to its end or close it (it is a context manager): an open stream keeps its memory.
        """
        return TranscriptionStream(
            self._speech().transcription(audio, sample_rate, options, Call())
        )

    async def atranscribe(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> Transcription:
        """`transcribe` in a thread of its own; cancelling the task stops the transcription."""
        return await run_alone(
            lambda call: self._speech().transcription(audio, sample_rate, options, call).run()
        )

    def atranscribe_stream(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> AsyncTranscriptionStream:
        """`transcribe_stream` for ``async for``."""
        return AsyncTranscriptionStream(
            lambda call: self._speech().transcription(audio, sample_rate, options, call)
        )

    def transcribe_live(
        self, *, interval: float = 1.0, **options: Unpack[TranscribeOptions]
    ) -> LiveTranscription:
        """A transcription of samples while they are being made: ``feed`` it, then ``finish``.

        A pass over the audio is made after every `interval` seconds more of it. Text that two
        passes agree on is confirmed and never changes. Options and errors are those of
        `transcribe`; `timestamps` are always there.
        """
        return self._speech().live(interval, options)

    def detect_language(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        vad: bool = True,
        language_detection_segments: int = 1,
        language_detection_threshold: float | None = 0.5,
    ) -> DetectedLanguage:
        """The language of a recording, by its first windows of 30 seconds of speech.

        `audio`, `sample_rate` and errors are those of `transcribe`. Of several windows the first
        that is surer than the threshold decides, else most of them. English-only models say "en".
        """
        options = {
            "vad": vad,
            "language_detection_segments": language_detection_segments,
            "language_detection_threshold": language_detection_threshold,
        }
        work = self._speech("detect_language")
        return work.detection(audio, sample_rate, options, Call()).run()

    async def adetect_language(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        vad: bool = True,
        language_detection_segments: int = 1,
        language_detection_threshold: float | None = 0.5,
    ) -> DetectedLanguage:
        """`detect_language` in a thread of its own; cancelling the task stops it."""
        options = {
            "vad": vad,
            "language_detection_segments": language_detection_segments,
            "language_detection_threshold": language_detection_threshold,
        }
        return await run_alone(
            lambda call: (
                self._speech("detect_language").detection(audio, sample_rate, options, call).run()
            )
        )

    def embed_audio(self, audio: Audio, *, sample_rate: int | None = None) -> list[float]:
        """The mean of the encoder's states over the audio itself, without the silence behind it.

        [hidden_size] floats; recordings of more than 30 seconds are averaged over all windows.
        """
        return self._speech("embed_audio").embedding(audio, sample_rate, Call()).run()

    async def aembed_audio(self, audio: Audio, *, sample_rate: int | None = None) -> list[float]:
        """`embed_audio` in a thread of its own; cancelling the task stops it."""
        return await run_alone(
            lambda call: self._speech("embed_audio").embedding(audio, sample_rate, call).run()
        )

    def _speech(self, ability: Ability = "transcribe") -> Speech:
        from cactus.speech.speech import Speech

        return self._work(ability, Speech)
