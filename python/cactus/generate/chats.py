"""What a language model does: chat, raw completion, many conversations at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from cactus.calls.aio import AsyncEventStream, in_loop, run_alone
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call, Turns
from cactus.compat import Unpack
from cactus.engine.contract import LoadedEngine
from cactus.engine.defaults import SamplingDefaults
from cactus.errors import CactusError, InvalidRequest, ModelFormatError
from cactus.generate.answer import Request
from cactus.generate.conversation import Conversation
from cactus.generate.generation import Generation
from cactus.generate.options import (
    CHAT_ONLY,
    ChatOptions,
    CompletionOptions,
    Options,
    parse_options,
)
from cactus.generate.prefix import Memory
from cactus.generate.streams import AsyncCompletionStream, CompletionStream
from cactus.inputs.checks import boolean, text
from cactus.types import Completion
from cactus.weights.abilities import check_ability

if TYPE_CHECKING:
    from cactus.engine.text import Engine
    from cactus.generate.many import ManyRun

Messages = Sequence[Mapping[str, Any]] | str
"""Message dicts as the OpenAI API has them (`role`, `content`), or the same as a JSON string. Any
other string is the text of one user message."""

Prompt = str | Sequence[int]
"""A raw prompt: a text, or token ids."""

ProgressCallback = Callable[[int, int], object]
"""Called as ``progress(done, total)``."""


class Chats:
    """The methods of a model that reads and writes text."""

    _engine: LoadedEngine
    _memory: Memory
    _turns: Turns

    # -- chat

    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Completion:
        """The model's answer to `messages`: a list of dicts, or the text of one user message.

        Where the last message is the assistant's, the answer continues it, and its text is only
        what is new; `continue_final_message=False` begins a new turn instead.

        Options: `max_tokens` 512, `temperature` 0 (greedy), `top_p`, `top_k`, `min_p`,
        `repetition_penalty`, `repetition_window`, `presence_penalty`, `frequency_penalty`,
        `sampling`, `logit_bias`, `seed`, `stop`, `include_stop_sequences`, `stop_loops`,
        `logprobs`, `top_logprobs`, `tools`, `confidence_threshold` (off), `speculation` (on),
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

    # -- many conversations at once

    @overload
    def chat_many(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: Literal[False] = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[ChatOptions],
    ) -> list[Completion]: ...
    @overload
    def chat_many(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool,
        progress: ProgressCallback | None = None,
        **options: Unpack[ChatOptions],
    ) -> list[Completion | CactusError]: ...
    def chat_many(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[ChatOptions],
    ) -> Any:
        """The answers to many conversations, in their order; each is what `chat` would give.

        They are computed together, up to eight at a time, which takes much less time than one after
        another. The first error of one of them (a bad message, a prompt that is too long) ends the
        call and is raised, with its number, before anything is computed where it can be; with
        `return_exceptions` it is the result of that one, and the others are answered.
        `progress(done, total)` is called after each. The conversation of `chat` is left as it is.

        Raises InvalidRequest for an option, and what ends the call as a whole, as `chat` does.
        """
        call = Call()
        return self._many(conversations, return_exceptions, options, call).run(_checked(progress))

    @overload
    async def achat_many(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: Literal[False] = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[ChatOptions],
    ) -> list[Completion]: ...
    @overload
    async def achat_many(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool,
        progress: ProgressCallback | None = None,
        **options: Unpack[ChatOptions],
    ) -> list[Completion | CactusError]: ...
    async def achat_many(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[ChatOptions],
    ) -> Any:
        """`chat_many` in a thread of its own; cancelling the task stops the generation.

        `progress` is called in the event loop.
        """
        call = Call(blocking=False, pulled=False)
        told = in_loop(_checked(progress))
        return await run_alone(
            call, lambda: self._many(conversations, return_exceptions, options, call).run(told)
        )

    @overload
    def chat_as_completed(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> EventStream[tuple[int, Completion]]: ...
    @overload
    def chat_as_completed(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool,
        **options: Unpack[ChatOptions],
    ) -> EventStream[tuple[int, Completion | CactusError]]: ...
    def chat_as_completed(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Any:
        """`chat_many` as an iterator: the index of a conversation and its answer, as each ends.

        Read it to its end or close it (it is a context manager): an open one keeps other calls
        waiting.
        """
        call = Call()
        return EventStream(call, self._many(conversations, return_exceptions, options, call).events)

    @overload
    def achat_as_completed(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> AsyncEventStream[tuple[int, Completion]]: ...
    @overload
    def achat_as_completed(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool,
        **options: Unpack[ChatOptions],
    ) -> AsyncEventStream[tuple[int, Completion | CactusError]]: ...
    def achat_as_completed(
        self,
        conversations: Iterable[Messages],
        *,
        return_exceptions: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Any:
        """`chat_as_completed` for ``async for``."""
        call = Call(blocking=False)
        return AsyncEventStream(
            call, lambda: self._many(conversations, return_exceptions, options, call)
        )

    def conversation(
        self, system: str | None = None, **options: Unpack[ChatOptions]
    ) -> Conversation:
        """A conversation that keeps its messages; `options` hold for all of its turns.

        `system` is its first message, which tells the model how to answer.
        """
        self._options(options)
        return Conversation(self, system, options)

    def count_tokens(self, messages_or_text: Messages, **options: Unpack[ChatOptions]) -> int:
        """How many tokens a text has, as `tokenize` makes them, or the prompt of messages.

        `options` that change the prompt of messages count: `tools`, `thinking`,
        `continue_final_message`. A prompt longer than the context is counted, too.
        """
        engine, checked = self._options(options)
        if isinstance(messages_or_text, str):
            return len(engine.tokenizer.encode(text("text", messages_or_text)))
        from cactus.generate.prompt import count_tokens

        return count_tokens(engine, messages_or_text, checked)

    # -- how it begins

    def _many(
        self,
        conversations: Iterable[Messages],
        return_exceptions: bool,
        options: Mapping[str, Any],
        call: Call,
    ) -> ManyRun:
        from cactus.generate.many import ManyRun, prepare_many

        engine, checked = self._options(options)
        return_exceptions = boolean("return_exceptions", return_exceptions)
        self._turns.register(call)
        requests = prepare_many(engine, conversations, checked, call.flag, return_exceptions)
        return ManyRun(engine, self._turns, call, requests, return_exceptions, self._memory.forget)

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
        began = time.perf_counter()
        engine, checked = self._options(options)
        request = build(engine, checked, began)
        self._turns.register(call)
        return Generation(engine, self._turns, self._memory.open, call, request)

    def _options(self, options: Mapping[str, Any]) -> tuple[Engine, Options]:
        self._turns.check()
        engine = self._text_engine()
        checked = parse_options(
            options,
            vocab_size=engine.program.vocab_size,
            model_defaults=engine.sampling_defaults,
        )
        return engine, checked

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """What `sampling="model"` stands for: the model's own values, else the catalog's.

        Raises ModelFormatError naming the field of a damaged generation_config.json, and
        UnsupportedModel for a speech model.
        """
        found = self._text_engine().sampling_defaults
        if isinstance(found, ModelFormatError):
            raise copy(found)  # one that is raised again keeps its frames
        return found

    def _text_engine(self) -> Engine:
        check_ability(self._engine.name, self._engine.architecture, "chat")
        return cast("Engine", self._engine)


def _checked(progress: ProgressCallback | None) -> ProgressCallback | None:
    if progress is not None and not callable(progress):
        raise InvalidRequest(f"progress must be a function, got {type(progress).__name__}")
    return progress
