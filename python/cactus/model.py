"""A loaded model with typed results: chat, streaming, and their async forms.

    with Model("smollm2-135m-instruct") as model:
        print(model.chat("Hello!"))

One model holds one conversation's cache: a chat that begins like the last one only reads what is
new. Calls from several threads wait for each other and give the answers they would give alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from cactus.audio import Audio, open_input
from cactus.calls.aio import run_alone
from cactus.calls.closing import Closing
from cactus.calls.turns import Call, Turns
from cactus.compat import Self, Unpack
from cactus.engine.contract import LoadedEngine
from cactus.errors import Cancelled, InvalidRequest
from cactus.generate.chats import Chats
from cactus.generate.prefix import Memory
from cactus.inputs.checks import boolean
from cactus.models.abilities import ABILITIES, Ability
from cactus.speech.live import LiveTranscription
from cactus.speech.options import TranscribeOptions
from cactus.speech.stream import AsyncTranscriptionStream, TranscriptionStream
from cactus.types import DetectedLanguage, Transcription
from cactus.weights.abilities import refusal

if TYPE_CHECKING:
    from cactus.audio.decode import AudioStream
    from cactus.engine.loading import LoadArguments
    from cactus.speech.engine import SpeechEngine
    from cactus.speech.transcription import TranscriptionRun

Found = TypeVar("Found")


class Model(Chats, Closing):
    """A language model, or a speech model, in memory.

    `name_or_path`: a weights folder, a ``.gguf`` file, a hub id, or the name of a downloaded model.
    `threads`: default ``CACTUS_THREADS``, else the physical cores. `isa`: a kernel tier to force,
    default ``CACTUS_ISA``, else the best this processor has. `context`: tokens at most, default
    (and at most) the model's own context. `kv`: what the cache keeps keys and values in, "f16" or
    "int8", which takes half the memory and changes answers a little. `activations`: what numbers
    have when they meet quantised weights, "int12" or "int8", which reads prompts a quarter faster
    and changes answers more. `preload`: read all weights in the background at once, instead of as
    they are needed: the first answer comes sooner where the file is not in memory. `resident`: copy
    the weights into memory of this process, so that the file may change or vanish while the model
    is used. `download`: fetch a model that is known and not here; otherwise no connection is
    opened.

    Raises ModelNotFound, UnsupportedModel, ModelFormatError, InsufficientMemory, InvalidRequest.
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        isa: str | None = None,
        context: int | None = None,
        kv: Literal["f16", "int8"] = "f16",
        activations: Literal["int12", "int8"] = "int12",
        preload: bool = False,
        resident: bool = False,
        download: bool = False,
    ) -> None:
        if not isinstance(name_or_path, (str, os.PathLike)):
            raise InvalidRequest(
                f"a model is named by a string or a path, got {type(name_or_path).__name__}"
            )
        from cactus.engine.loading import LoadOptions

        options: LoadArguments = {
            "threads": threads,
            "isa": isa,
            "context": context,
            "kv": kv,
            "activations": activations,
            "preload": preload,
            "resident": resident,
        }
        LoadOptions(**options)  # before anything is looked for or fetched
        self._start(_load(_find(name_or_path, boolean("download", download)), options))

    @classmethod
    def from_engine(cls, engine: LoadedEngine) -> Self:
        """A model around an engine that is already loaded; it is closed with the model."""
        model = cls.__new__(cls)
        model._start(engine)
        return model

    def _start(self, engine: LoadedEngine) -> None:
        self._engine = engine
        self._memory = Memory(engine)
        # Bound to the memory and not to the model: no cycle keeps a dropped model alive.
        self._turns = Turns(self._memory.free)

    # -- what it is

    @property
    def name(self) -> str:
        """The name of the weights folder; of a converted GGUF file, the file's."""
        return self._engine.name

    @property
    def architecture(self) -> str:
        """The Hugging Face ``model_type``."""
        return self._engine.architecture

    @property
    def context_length(self) -> int:
        """The most tokens that a prompt and its answer may have together."""
        return self._engine.context_length

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._turns.closed

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Model {self.name} ({self.architecture}, {self.context_length} tokens{state})>"

    # -- speech

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
        return self._transcription(audio, sample_rate, options, Call()).run()

    def transcribe_stream(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> TranscriptionStream:
        """The segments of a recording as they are found; options and errors as in `transcribe`.

        Read it to its end or close it (it is a context manager): an open stream keeps other calls
        waiting.
        """
        call = Call()
        return TranscriptionStream(call, self._transcription(audio, sample_rate, options, call))

    async def atranscribe(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> Transcription:
        """`transcribe` in a thread of its own; cancelling the task stops the transcription."""
        call = Call(blocking=False, pulled=False)
        return await run_alone(
            call, lambda: self._transcription(audio, sample_rate, options, call).run()
        )

    def atranscribe_stream(
        self,
        audio: Audio,
        *,
        sample_rate: int | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> AsyncTranscriptionStream:
        """`transcribe_stream` for ``async for``."""
        call = Call(blocking=False)
        return AsyncTranscriptionStream(
            call, lambda: self._transcription(audio, sample_rate, options, call)
        )

    def transcribe_live(
        self, *, interval: float = 1.0, **options: Unpack[TranscribeOptions]
    ) -> LiveTranscription:
        """A transcription of samples while they are being made: ``feed`` it, then ``finish``.

        A pass over the audio is made after every `interval` seconds more of it. Text that two
        passes agree on is confirmed and never changes. Options and errors are those of
        `transcribe`; `timestamps` are always there.
        """
        from cactus.speech.options import parse

        self._turns.check()
        engine = self._speech_engine("transcribe")
        checked = parse(options)
        engine.check(checked)
        return LiveTranscription(engine, self._turns, checked, interval)

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
        from cactus.speech.detection import detect_language
        from cactus.speech.options import parse

        options = parse(
            {
                "vad": vad,
                "language_detection_segments": language_detection_segments,
                "language_detection_threshold": language_detection_threshold,
            }
        )
        return self._listen(
            audio,
            sample_rate,
            "detect_language",
            lambda engine, stream, call: detect_language(engine, stream, options, call.flag),
        )

    def embed_audio(self, audio: Audio, *, sample_rate: int | None = None) -> list[float]:
        """The mean of the encoder's states over the audio itself, without the silence behind it.

        [hidden_size] floats; recordings of more than 30 seconds are averaged over all windows.
        """
        from cactus.speech.embed import embed

        return self._listen(
            audio,
            sample_rate,
            "embed_audio",
            lambda engine, stream, call: embed(engine, stream, call.flag),
        )

    def _listen(
        self,
        audio: Audio,
        sample_rate: int | None,
        ability: Ability,
        work: Callable[[SpeechEngine, AudioStream, Call], Found],
    ) -> Found:
        """What a piece of work on a recording finds, when it is its turn."""
        self._turns.check()
        engine, call = self._speech_engine(ability), Call()
        stream = open_input(audio, sample_rate)
        self._turns.register(call)
        try:
            if not self._turns.enter(call):
                raise Cancelled("stopped before the audio was read")
            return work(engine, stream, call)
        finally:
            stream.close()
            self._turns.leave(call)

    def _transcription(
        self, audio: Audio, sample_rate: int | None, options: Mapping[str, Any], call: Call
    ) -> TranscriptionRun:
        from cactus.speech.options import parse
        from cactus.speech.transcription import TranscriptionRun

        self._turns.check()
        began = time.perf_counter()
        engine = self._speech_engine("transcribe")
        checked = parse(options)
        engine.check(checked)
        stream = open_input(audio, sample_rate)
        self._turns.register(call)
        return TranscriptionRun(engine, self._turns, call, stream, checked, began)

    def _speech_engine(self, ability: Ability) -> SpeechEngine:
        if ability not in ABILITIES.get(self.architecture, ()):
            raise refusal(self.name, self.architecture, ability)
        return cast("SpeechEngine", self._engine)

    # -- the rest

    def tokenize(self, text: str) -> list[int]:
        """The token ids of plain text: no special tokens are added, and none are recognised."""
        self._turns.check()
        if not isinstance(text, str):
            raise InvalidRequest(f"text must be a string, got {type(text).__name__}")
        return list(self._engine.tokenizer.encode(text))

    def detokenize(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of token ids; special tokens are left out, or with `skip_special` False spelled.

        Bytes that are not UTF-8, such as half a character, become U+FFFD.
        """
        from cactus.generate.prompt import token_ids

        self._turns.check()
        known = token_ids("ids", ids, self._engine.program.vocab_size)
        skip = boolean("skip_special", skip_special)
        return str(self._engine.tokenizer.decode(known, skip_special=skip))

    def reset(self) -> None:
        """Forget the conversation: the next chat reads its whole prompt.

        Waits for a running call. Raises ReentrantCall inside a callback of this model.
        """
        call = Call()  # not registered: stop() ends answers, it must not make a reset be skipped
        try:
            self._turns.enter(call)
            if self._memory.conversation is not None:
                self._memory.conversation.clear()
        finally:
            self._turns.leave(call)

    def stop(self) -> None:
        """End every running and waiting call; each returns what it has so far.

        Works from any thread, callback or signal handler, at once: a step that reads a chunk of the
        prompt or 30 seconds of audio ends half-way. Nothing happens, and nothing is remembered,
        when no call is in flight.
        """
        self._turns.stop()

    def close(self) -> None:
        """End the running call with Cancelled and free the memory. Further calls do nothing."""
        self._turns.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.to_thread(self.close)  # it waits for the step that runs


def _load(folder: Path, options: LoadArguments) -> LoadedEngine:
    from cactus.weights.locate import model_type_of

    if "transcribe" in ABILITIES.get(model_type_of(folder), ()):
        from cactus.speech.engine import load_speech_engine

        return load_speech_engine(folder, **options)
    from cactus.engine.text import load_engine

    return load_engine(folder, **options)


def _find(name_or_path: str | os.PathLike[str], download: bool) -> Path:
    """The model's folder; a terminal sees how far a conversion or download is."""
    from cactus.progress import chosen_progress

    with chosen_progress(None) as progress:
        if not download:
            from cactus.weights.locate import resolve

            return resolve(name_or_path, progress)
        from cactus.weights.download import find_or_download

        return find_or_download(name_or_path, progress=progress)
