"""The methods of `Model` that chat and complete: the public form of what `Chat` does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

from cactus.calls.aio import AsyncEventStream, in_loop, run_alone, run_attended
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call
from cactus.compat import Unpack
from cactus.engine.base import ModelBase
from cactus.engine.defaults import SamplingDefaults
from cactus.errors import CactusError
from cactus.generate.chat import Chat, Messages, ProgressCallback, Prompt, check_progress
from cactus.generate.conversation import Conversation
from cactus.generate.documents import Documents
from cactus.generate.elsewhere import Elsewhere
from cactus.generate.options import ChatOptions, CompletionOptions
from cactus.generate.streams import AsyncCompletionStream, CompletionStream
from cactus.models.abilities import Ability
from cactus.types import Completion, TokenLogprob


class ChatMethods(ModelBase):
    """The methods of a model that reads and writes text."""

    elsewhere: Elsewhere | None = None
    """Who is asked where the model is less sure than wanted."""
    documents: Documents | None = None
    """What chats are answered from."""

    # -- chat

    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Completion:
        """The model's answer to `messages`: a list of dicts, or the text of one user message.

        Where the last message is the assistant's, the answer continues it, and its text is only
        what is new; `continue_final_message=False` begins a new turn instead.

        Options: `max_tokens` 512, `max_total_tokens`, `temperature` 0 (greedy), `top_p`, `top_k`,
        `min_p`, `repetition_penalty`, `repetition_window`, `presence_penalty`,
        `frequency_penalty`, `sampling`, `logit_bias`, `seed`, `stop`, `include_stop_sequences`,
        `stop_loops`, `logprobs`, `top_logprobs`, `tools`, `confidence_threshold` (off),
        `speculation` (on), `thinking` (the model's own), `continue_final_message`, `allow_cloud`
        (on), and of models that see `max_tiles`, `max_image_tokens`, `allow_image_urls` (off),
        `image_progress`; see docs/python-api.md for the ranges, and for what 0 and None mean.

        Raises InvalidRequest naming the option or message, InvalidImage, ContextLengthExceeded
        before anything is computed, UnsupportedModel for images where the model sees none,
        Cancelled if the model is closed meanwhile, ReentrantCall, ModelClosed, NonFiniteLogits,
        InsufficientMemory.
        """
        return self._chat().generation(messages, options, Call()).run()

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> CompletionStream:
        """The answer token by token; takes the options and raises the errors of `chat`.

        The request is checked here, the model works while the stream is read. Read it to its end or
        close it (it is a context manager): an open stream keeps its memory.
        """
        return CompletionStream(self._chat().generation(messages, options, Call()))

    async def achat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Completion:
        """`chat`, awaited; cancelling the task stops the generation."""
        told = _in_loop(options)
        return await run_attended(lambda call: self._chat().generation(messages, told, call))

    def astream(self, messages: Messages, **options: Unpack[ChatOptions]) -> AsyncCompletionStream:
        """`stream` for ``async for``; cancelling the task that reads it stops the generation."""
        told = _in_loop(options)
        return AsyncCompletionStream(lambda call: self._chat().generation(messages, told, call))

    # -- how sure the model is

    def assess(
        self,
        messages: Messages,
        answer: Completion,
        *,
        samples: int = 5,
        self_check: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """`answer`, which `chat` gave to `messages`, with more that says whether it is right.

        So many `samples` of other answers are drawn, up to 32, in one batch: `scores.agreement`
        is how far they say the same. With `self_check` the model is asked whether its answer is
        right: `scores.self_check` is the probability of Yes. Where the model has a calibration
        that knows them, `confidence` is made of them, too. A `stop` returns `answer` as it was.

        Options and errors are those of `chat`; give those that the answer was made with. Samples
        are drawn at the `temperature` 0.8 where it is 0; `seed` is that of the first.
        """
        return self._chat().assess(messages, answer, samples, self_check, options, Call())

    async def aassess(
        self,
        messages: Messages,
        answer: Completion,
        *,
        samples: int = 5,
        self_check: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """`assess` in a thread of its own; cancelling the task stops it."""
        told = _in_loop(options)
        return await run_alone(
            lambda call: self._chat().assess(messages, answer, samples, self_check, told, call)
        )

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
        return self._chat("complete").raw(prompt, parse_special, options, Call()).run()

    def complete_stream(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> CompletionStream:
        """`complete` token by token, as `stream` is `chat`."""
        return CompletionStream(self._chat("complete").raw(prompt, parse_special, options, Call()))

    async def acomplete(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion:
        """`complete`, awaited; cancelling the task stops the generation."""
        return await run_attended(
            lambda call: self._chat("complete").raw(prompt, parse_special, options, call)
        )

    def acomplete_stream(
        self,
        prompt: Prompt,
        *,
        parse_special: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> AsyncCompletionStream:
        """`complete_stream` for ``async for``."""
        return AsyncCompletionStream(
            lambda call: self._chat("complete").raw(prompt, parse_special, options, call)
        )

    def score(
        self, prompt: Prompt, *, parse_special: bool = False, top_logprobs: int = 0
    ) -> list[TokenLogprob]:
        """How probable the model finds each token of `prompt`, behind those before it.

        An entry for each token of what `complete` would read, with the `top_logprobs` (0 to 20)
        likeliest at its place; the first has nothing before it, and its `logprob` is nan. Nothing
        is written. Raises what `complete` does, and Cancelled after a `stop`.
        """
        return self._chat("complete").scoring(prompt, parse_special, top_logprobs, Call()).run()

    async def ascore(
        self, prompt: Prompt, *, parse_special: bool = False, top_logprobs: int = 0
    ) -> list[TokenLogprob]:
        """`score` in a thread of its own; cancelling the task stops it."""
        return await run_alone(
            lambda call: (
                self._chat("complete").scoring(prompt, parse_special, top_logprobs, call).run()
            )
        )

    def infill_prompt(self, prefix: str, suffix: str) -> list[int]:
        """The prompt, as token ids, behind which `complete` writes what belongs between two texts.

        Raises UnsupportedModel for a model that was not trained to fill in the middle, and
        InvalidRequest.
        """
        from cactus.generate.infill import infill_ids

        return infill_ids(self._chat("complete")._engine, prefix, suffix)

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

        They are computed together, and with all other calls, which takes much less time than one
        after another. The first error of one of them (a bad message, a prompt that is too long)
        ends the call and is raised, with its number, before anything is computed where it can be;
        with `return_exceptions` it is the result of that one, and the others are answered.
        `progress(done, total)` is called after each. The conversation of `chat` is left as it is.

        Raises InvalidRequest for an option, and what ends the call as a whole, as `chat` does.
        """
        run = self._chat().many(conversations, return_exceptions, options, Call())
        return run.run(check_progress(progress))

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
        told, given = in_loop(check_progress(progress)), _in_loop(options)
        return await run_alone(
            lambda call: self._chat().many(conversations, return_exceptions, given, call).run(told)
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

        Of an iterator the next conversation is asked for when there is a place for it in the batch:
        it may have no end. An error of one of them is then raised, or yielded, when it comes.
        Read it to its end or close it (it is a context manager): an open one keeps its memory.
        """
        run = self._chat().many(conversations, return_exceptions, options, Call(), as_read=True)
        return EventStream(run)

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
        told = _in_loop(options)
        return AsyncEventStream(
            lambda call: self._chat().many(
                conversations, return_exceptions, told, call, as_read=True
            )
        )

    def conversation(
        self, system: str | None = None, **options: Unpack[ChatOptions]
    ) -> Conversation:
        """A conversation that keeps its messages; `options` hold for all of its turns.

        `system` is its first message, which tells the model how to answer.
        """
        self._chat().options(options)
        return Conversation(self, system, options)

    def count_tokens(self, messages_or_text: Messages, **options: Unpack[ChatOptions]) -> int:
        """How many tokens a text has, as `tokenize` makes them, or the prompt of messages.

        `options` that change the prompt of messages count: `tools`, `thinking`,
        `continue_final_message`. A prompt longer than the context is counted, too.
        """
        return self._chat().count_tokens(messages_or_text, options)

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """What `sampling="model"` stands for: the model's own values, else the catalog's.

        Raises ModelFormatError naming the field of a damaged generation_config.json, and
        UnsupportedModel for a speech model.
        """
        return self._chat().sampling_defaults

    def _chat(self, ability: Ability = "chat") -> Chat:
        chat = self._work(ability, Chat)
        chat.elsewhere, chat.documents = self.elsewhere, self.documents
        if "see" in self._engine.abilities:
            from cactus.vision.work import Vision

            chat.vision = self._work("see", Vision)
        return chat


def _in_loop(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options with a progress that is told in the event loop that runs now."""
    if options.get("image_progress") is None:
        return options
    return {**options, "image_progress": in_loop(options["image_progress"])}
