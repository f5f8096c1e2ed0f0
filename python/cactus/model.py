"""A loaded model with typed results: chat, streaming, and their async forms.

    with Model("smollm2-135m-instruct") as model:
        print(model.chat("Hello!"))

One model holds one conversation's cache: a chat that begins like the last one only reads what is
new. Calls from several threads wait for each other and give the answers they would give alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from cactus.audio import Audio, open_sound
from cactus.closing import Closing
from cactus.compat import Self, Unpack
from cactus.errors import CactusError, Cancelled, InvalidRequest, UnsupportedModel
from cactus.generate.aio import AsyncCompletionStream, run_alone
from cactus.generate.answer import Request
from cactus.generate.contract import LoadedEngine
from cactus.generate.generation import Generation
from cactus.generate.options import (
    CHAT_ONLY,
    ChatOptions,
    CompletionOptions,
    Options,
    boolean,
    integer,
    parse_options,
)
from cactus.generate.prefix import Conversation
from cactus.generate.stream import CompletionStream
from cactus.generate.turns import Call, Turns
from cactus.speech import is_speech_model
from cactus.speech.live import LiveTranscription
from cactus.speech.stream import TranscriptionStream
from cactus.types import Completion, Transcription
from cactus.weights.abilities import refusal
from cactus.weights.catalog import SPEECH_ARCHITECTURES

if TYPE_CHECKING:
    from cactus.engine import Engine
    from cactus.speech.engine import SpeechEngine
    from cactus.speech.transcription import TranscriptionRun

Messages = Sequence[Mapping[str, Any]] | str
"""Message dicts as the OpenAI API has them (`role`, `content`), or the same as a JSON string. Any
other string is the text of one user message."""

Prompt = str | Sequence[int]
"""A raw prompt: a text, or token ids."""


class Model(Closing):
    """A language model, or a speech model, in memory.

    `name_or_path`: a weights folder, a ``.gguf`` file, a hub id, or the name of a downloaded model.
    `threads`: default ``CACTUS_THREADS``, else the physical cores. `isa`: a kernel tier to force,
    default ``CACTUS_ISA``, else the best this processor has. `context`: tokens at most, default
    (and at most) the model's own context. `kv`: what the cache keeps keys and values in, "f16" or
    "int8", which takes half the memory and changes answers a little. `activations`: what numbers
    have when they meet quantised weights, "int12" or "int8", which reads prompts a quarter faster
    and changes answers more. `preload`: read all weights in the background at once, instead of as
    they are needed: the first answer comes sooner where the file is not in memory.

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
    ) -> None:
        if not isinstance(name_or_path, (str, os.PathLike)):
            raise InvalidRequest(
                f"a model is named by a string or a path, got {type(name_or_path).__name__}"
            )
        if context is not None:
            context = integer("context", context, 1)
        preload = boolean("preload", preload)
        from cactus.engine import check_types, load_engine
        from cactus.weights.locate import resolve

        check_types(kv, activations)
        folder = Path(resolve(name_or_path))
        if is_speech_model(folder):
            from cactus.speech.engine import load_speech_engine

            if context is not None:
                raise InvalidRequest("context: a speech model has windows of 30 seconds")
            self._start(
                load_speech_engine(
                    folder,
                    threads=threads,
                    isa=isa,
                    kv=kv,
                    activations=activations,
                    preload=preload,
                )
            )
            return
        self._start(
            load_engine(
                folder,
                threads=threads,
                isa=isa,
                context=context,
                kv=kv,
                activations=activations,
                preload=preload,
            )
        )

    @classmethod
    def from_engine(cls, engine: LoadedEngine) -> Self:
        """A model around an engine that is already loaded; it is closed with the model."""
        model = cls.__new__(cls)
        model._start(engine)
        return model

    def _start(self, engine: LoadedEngine) -> None:
        self._engine = engine
        self._memory = _Memory(engine)
        # Bound to the memory and not to the model: no cycle keeps a dropped model alive.
        self._turns = Turns(self._memory.free)

    # -- what it is

    @property
    def name(self) -> str:
        """The name of the weights folder."""
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

    # -- chat

    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Completion:
        """The model's answer to `messages`: a list of dicts, or the text of one user message.

        Where the last message is the assistant's, the answer continues it, and its text is only
        what is new; `continue_final_message=False` begins a new turn instead.

        Options: `max_tokens` 512, `temperature` 0 (greedy), `top_p`, `top_k`, `min_p`,
        `repetition_penalty`, `presence_penalty`, `frequency_penalty`, `logit_bias`, `seed`, `stop`,
        `include_stop_sequences`, `tools`, `confidence_threshold` (off), `speculation` (on),
        `thinking` (the model's own), `continue_final_message`; see docs/python-api.md for the
        ranges, and for what 0 and None mean.

        Raises InvalidRequest naming the option or message, ContextLengthExceeded before anything is
        computed, UnsupportedModel for images, Cancelled if the model is closed meanwhile,
        ReentrantCall, ModelClosed, NonFiniteLogits, InsufficientMemory.
        """
        return self._generation(messages, options, Call()).run()

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> CompletionStream:
        """The answer token by token; takes the options and raises the errors of `chat`.

        The request is checked here, the model works while the stream is read. Read it to its end or
        close it (it is a context manager): an open stream keeps other calls waiting.
        """
        call = Call()
        return CompletionStream(call, self._generation(messages, options, call))

    async def achat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Completion:
        """`chat` in a thread of its own; cancelling the task stops the generation."""
        call = Call(blocking=False, pulled=False)
        return await run_alone(call, lambda: self._generation(messages, options, call).run())

    def astream(self, messages: Messages, **options: Unpack[ChatOptions]) -> AsyncCompletionStream:
        """`stream` for ``async for``; cancelling the task that reads it stops the generation."""
        call = Call(blocking=False)
        return AsyncCompletionStream(call, lambda: self._generation(messages, options, call))

    def chat_many(
        self, conversations: Iterable[Messages], **options: Unpack[ChatOptions]
    ) -> list[Completion | CactusError]:
        """The answers to many conversations, in their order; each is what `chat` would give.

        They are computed together, up to eight at a time, which takes much less time than one after
        another. What `chat` would raise for one of them (a bad message, a prompt that is too long)
        is its result, as a value. The conversation of `chat` is left as it is.

        Raises InvalidRequest for an option, and what ends the call as a whole, as `chat` does.
        """
        return self._complete_many(conversations, options, Call())

    async def achat_many(
        self, conversations: Iterable[Messages], **options: Unpack[ChatOptions]
    ) -> list[Completion | CactusError]:
        """`chat_many` in a thread of its own; cancelling the task stops the generation."""
        call = Call(blocking=False, pulled=False)
        return await run_alone(call, lambda: self._complete_many(conversations, options, call))

    def _complete_many(
        self, conversations: Iterable[Messages], options: Mapping[str, Any], call: Call
    ) -> list[Completion | CactusError]:
        from cactus.generate.many import complete_many, prepare_many

        self._turns.check()
        engine = self._text_engine()
        checked = parse_options(options, vocab_size=engine.program.vocab_size)
        self._turns.register(call)
        requests = prepare_many(engine, conversations, checked, call.flag)
        return complete_many(engine, self._turns, call, requests)

    def _generation(self, messages: Messages, options: Mapping[str, Any], call: Call) -> Generation:
        from cactus.generate.prompt import build_request

        return self._begin(
            lambda engine, checked, began: build_request(engine, messages, checked, began),
            options,
            call,
        )

    def _begin(
        self,
        build: Callable[[Engine, Options, float], Request],
        options: Mapping[str, Any],
        call: Call,
    ) -> Generation:
        self._turns.check()
        began = time.perf_counter()
        engine = self._text_engine()
        checked = parse_options(options, vocab_size=engine.program.vocab_size)
        request = build(engine, checked, began)
        self._turns.register(call)
        return Generation(engine, self._turns, self._memory.open, call, request)

    def _text_engine(self) -> Engine:
        if self.architecture in SPEECH_ARCHITECTURES:
            raise refusal(self.name, self.architecture, "chat")
        return cast("Engine", self._engine)

    # -- raw text

    def complete(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion:
        """What the model writes behind `prompt`: a text or token ids, without a chat template.

        A text gets what the tokenizer puts before one (BOS, where the model has one); token ids are
        taken as they are. With `parse_special` markup in the text ("<|im_end|>") becomes special
        tokens, else it is text. Options and errors are those of `chat`, without `tools`, `thinking`
        and `continue_final_message`.
        """
        return self._raw_generation(prompt, parse_special, options, Call()).run()

    def complete_stream(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> CompletionStream:
        """`complete` token by token, as `stream` is `chat`."""
        call = Call()
        return CompletionStream(call, self._raw_generation(prompt, parse_special, options, call))

    async def acomplete(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion:
        """`complete` in a thread of its own; cancelling the task stops the generation."""
        call = Call(blocking=False, pulled=False)
        return await run_alone(
            call, lambda: self._raw_generation(prompt, parse_special, options, call).run()
        )

    def acomplete_stream(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> AsyncCompletionStream:
        """`complete_stream` for ``async for``."""
        call = Call(blocking=False)
        return AsyncCompletionStream(
            call, lambda: self._raw_generation(prompt, parse_special, options, call)
        )

    def _raw_generation(
        self, prompt: Prompt, parse_special: bool, options: Mapping[str, Any], call: Call
    ) -> Generation:
        from cactus.generate.prompt import build_raw_request

        for name in options:
            if name in CHAT_ONLY:
                raise InvalidRequest(f"{name} is an option of chat; complete has no messages")

        def build(engine: Engine, checked: Options, began: float) -> Request:
            special = boolean("parse_special", parse_special)
            return build_raw_request(engine, prompt, checked, began, special)

        return self._begin(build, options, call)

    # -- speech

    def transcribe(
        self, audio: Audio, *, sample_rate: int | None = None, **options: Any
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
        self, audio: Audio, *, sample_rate: int | None = None, **options: Any
    ) -> TranscriptionStream:
        """The segments of a recording as they are found; options and errors as in `transcribe`.

        Read it to its end or close it (it is a context manager): an open stream keeps other calls
        waiting.
        """
        call = Call()
        return TranscriptionStream(call, self._transcription(audio, sample_rate, options, call))

    def transcribe_live(self, *, interval: float = 1.0, **options: Any) -> LiveTranscription:
        """A transcription of samples while they are being made: ``feed`` it, then ``finish``.

        What is said is heard again after every `interval` seconds more of it. Text that two
        hearings agree on is confirmed and never changes. Options and errors are those of
        `transcribe`; `timestamps` are always there.
        """
        from cactus.speech.options import parse

        self._turns.check()
        engine = self._speech_engine("transcribe speech")
        checked = parse(options)
        engine.check(checked)
        return LiveTranscription(engine, self._turns, checked, interval)

    def embed_audio(self, audio: Audio, *, sample_rate: int | None = None) -> list[float]:
        """The mean of the encoder's states over the sound itself, without the silence behind it.

        [hidden_size] floats; recordings of more than 30 seconds are averaged over all windows.
        """
        from cactus.speech.embed import embed

        self._turns.check()
        engine, call = self._speech_engine("listen to audio"), Call()
        stream = open_sound(audio, sample_rate)
        self._turns.register(call)
        try:
            if not self._turns.enter(call):
                raise Cancelled("stopped before the sound was listened to")
            return embed(engine, stream, call.flag)
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
        engine = self._speech_engine("transcribe speech")
        checked = parse(options)
        engine.check(checked)
        stream = open_sound(audio, sample_rate)
        self._turns.register(call)
        return TranscriptionRun(engine, self._turns, call, stream, checked, began)

    def _speech_engine(self, ability: str) -> SpeechEngine:
        if self.architecture not in SPEECH_ARCHITECTURES:
            raise UnsupportedModel(
                f"{self.name} is a text model ({self.architecture}): it cannot {ability}; a speech "
                "model can, such as whisper-base"
            )
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

    def count_tokens(self, messages_or_text: Messages, **options: Unpack[ChatOptions]) -> int:
        """How many tokens a text has, as `tokenize` makes them, or the prompt of messages.

        `options` that change the prompt of messages count: `tools`, `thinking`,
        `continue_final_message`. A prompt longer than the context is counted, too.
        """
        if isinstance(messages_or_text, str):
            return len(self.tokenize(messages_or_text))
        from cactus.generate.prompt import count_tokens

        self._turns.check()
        engine = self._text_engine()
        checked = parse_options(options, vocab_size=engine.program.vocab_size)
        return count_tokens(engine, messages_or_text, checked)

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
        prompt or 30 seconds of sound ends half-way. Nothing happens, and nothing is remembered,
        when no call is in flight.
        """
        self._turns.stop()

    def close(self) -> None:
        """End the running call with Cancelled and free the memory. Further calls do nothing."""
        self._turns.close()


class _Memory:
    """What a model owns of the native core: its engine, and a session once there is a chat."""

    def __init__(self, engine: LoadedEngine) -> None:
        self._engine = engine
        self.conversation: Conversation[Any] | None = None

    def open(self) -> Conversation[Any]:
        if self.conversation is None:
            self.conversation = Conversation(self._engine.program.session())
        return self.conversation

    def free(self) -> None:
        if self.conversation is not None:
            self.conversation.session.close()
        self._engine.close()
