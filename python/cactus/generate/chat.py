"""What a language model does for its callers: every chat and completion begins here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import ExitStack
from copy import copy
from typing import TYPE_CHECKING, Any

from cactus.calls.run import GeneratorRun
from cactus.calls.turns import Call, Turns
from cactus.engine.base import Worker
from cactus.engine.defaults import SamplingDefaults
from cactus.errors import InvalidRequest, ModelFormatError
from cactus.generate.answer import Request
from cactus.generate.batch import Batch
from cactus.generate.conversations import Conversations
from cactus.generate.generation import Generation
from cactus.generate.options import CHAT_ONLY, Options, parse_options
from cactus.inputs.checks import boolean, integer, text
from cactus.types import Completion, TokenLogprob

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded
    from cactus.generate.documents import Documents
    from cactus.generate.elsewhere import Elsewhere
    from cactus.generate.many import ManyRun
    from cactus.vision.work import Vision

Messages = Sequence[Mapping[str, Any]] | str
"""Message dicts as the OpenAI API has them (`role`, `content`), or the same as a JSON string. Any
other string is the text of one user message."""

Prompt = str | Sequence[int]
"""A raw prompt: a text, or token ids."""

ProgressCallback = Callable[[int, int], object]
"""Called as ``progress(done, total)``."""


class Chat(Worker):
    """Checks requests and makes the runs that answer them; has the batch that they are answered in.

    Whoever calls has seen to it that the model is open and has the ability.
    """

    def __init__(self, engine: Loaded, turns: Turns, owned: ExitStack) -> None:
        super().__init__(engine, turns, owned)
        self._conversations = Conversations(engine, engine.cache_bytes)
        owned.callback(self._conversations.free)
        self._batch = Batch(engine, turns, self._conversations)
        if self._batch.draft is not None:
            owned.callback(self._batch.draft.free)
        self.elsewhere: Elsewhere | None = None
        """Who is asked where the model is less sure than wanted."""
        self.documents: Documents | None = None
        """What answers are made from."""
        self.vision: Vision | None = None
        """Who looks at images."""

    def generation(
        self,
        messages: Messages,
        options: Mapping[str, Any],
        call: Call,
        documents: Documents | None = None,
    ) -> Generation:
        """The run that answers messages, from `documents` or those of the model."""
        from cactus.generate.prompt import build_request

        documents = documents or self.documents

        def build(checked: Options, began: float) -> Request:
            asks = self._asks(checked, options, documents)
            return build_request(
                self._engine, messages, checked, began, asks, documents, self.vision
            )

        return self._begin(build, options, call)

    def raw(
        self, prompt: Prompt, parse_special: bool, options: Mapping[str, Any], call: Call
    ) -> Generation:
        """The run that goes on from a prompt as it is."""
        from cactus.generate.prompt import build_raw_request

        for name in options:
            if name in CHAT_ONLY:
                raise InvalidRequest(f"{name} is an option of chat; complete has no messages")

        def build(checked: Options, began: float) -> Request:
            special = boolean("parse_special", parse_special)
            return build_raw_request(self._engine, prompt, checked, began, special)

        return self._begin(build, options, call)

    def scoring(
        self, prompt: Prompt, parse_special: bool, top_logprobs: int, call: Call
    ) -> GeneratorRun[None, list[TokenLogprob]]:
        """The run that says how probable the tokens of a prompt are."""
        from cactus.generate.prompt import build_raw_request
        from cactus.generate.scoring import score

        checked = self.options({"max_tokens": 0, "logprobs": True, "top_logprobs": top_logprobs})
        special, began = boolean("parse_special", parse_special), time.perf_counter()
        ids = build_raw_request(self._engine, prompt, checked, began, special).prompt
        work = score(self._engine, self._conversations, ids, checked.top_logprobs, call)
        return GeneratorRun(self._turns, call, work)

    def many(
        self,
        conversations: Iterable[Messages],
        return_exceptions: bool,
        options: Mapping[str, Any],
        call: Call,
        *,
        as_read: bool = False,
    ) -> ManyRun:
        """The run that answers many conversations together.

        With `as_read` those of an iterator are asked for one by one, as there is room for them.
        """
        from cactus.generate.many import ManyRun, conversations_of, prepare_each, prepare_many
        from cactus.generate.prompt import build_request

        checked = self.options(options)
        return_exceptions = boolean("return_exceptions", return_exceptions)
        self._turns.register(call)  # a stop ends the making of the requests, too
        asks = self._asks(checked, options, self.documents)
        documents, vision = self.documents, self.vision

        def prepare(messages: Messages) -> Request:
            began = time.perf_counter()
            return build_request(self._engine, messages, checked, began, asks, documents, vision)

        if as_read and not isinstance(conversations_of(conversations), Sized):
            each = prepare_each(conversations, prepare)
            return ManyRun(self._batch, call, each, return_exceptions)
        requests = prepare_many(conversations, checked, call.flag, return_exceptions, prepare)
        return ManyRun(self._batch, call, requests, return_exceptions)

    def assess(
        self,
        messages: Messages,
        answer: Completion,
        samples: int,
        self_check: bool,
        options: Mapping[str, Any],
        call: Call,
    ) -> Completion:
        """The answer with scores for which the model is asked once more."""
        from cactus.generate.assess import MOST_SAMPLES, Assessment

        count = integer("samples", samples, 0, MOST_SAMPLES)
        if not (boolean("self_check", self_check) or count):
            raise InvalidRequest("samples is 0 and self_check False: nothing is to be assessed")
        if not isinstance(answer, Completion):
            raise InvalidRequest(f"answer must be a Completion, got {type(answer).__name__}")
        checked = self.options(options)
        asked: Any = messages
        if self.documents is not None:
            from cactus.generate.prompt import consulted_messages

            asked = consulted_messages(self._engine, messages, checked, self.documents, self.vision)
        assessment = Assessment(
            self._engine, asked, answer, checked, count, self_check, self.vision
        )
        return assessment.run(self._batch, call)

    def count_tokens(self, messages_or_text: Messages, options: Mapping[str, Any]) -> int:
        """The tokens of a text, or of the prompt of messages."""
        checked = self.options(options)
        if isinstance(messages_or_text, str):
            return len(self._engine.tokenizer.encode(text("text", messages_or_text)))
        from cactus.generate.prompt import count_tokens

        return count_tokens(self._engine, messages_or_text, checked, self.vision)

    def options(self, options: Mapping[str, Any]) -> Options:
        """Options checked, with this model's defaults; InvalidRequest naming what is wrong."""
        return parse_options(
            options,
            vocab_size=self._engine.program.vocab_size,
            model_defaults=self._engine.sampling_defaults,
        )

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """The model's own; ModelFormatError where they are damaged."""
        found = self._engine.sampling_defaults
        if isinstance(found, ModelFormatError):
            raise copy(found)  # one that is raised again keeps its frames
        return found

    def forget(self) -> None:
        """Forget all conversations. It is the caller's turn."""
        self._conversations.forget()
        if self._batch.draft is not None:
            self._batch.draft.conversations.forget()

    def _begin(
        self,
        build: Callable[[Options, float], Request],
        options: Mapping[str, Any],
        call: Call,
    ) -> Generation:
        began = time.perf_counter()
        request = build(self.options(options), began)
        if request.consulted is not None and request.consulted.answer is not None:
            from cactus.generate.known import KnownAnswer

            return KnownAnswer(self._batch, call, request)
        if request.elsewhere is None:
            return Generation(self._batch, call, request)
        from cactus.generate.handoff import HandoffGeneration

        return HandoffGeneration(self._batch, call, request)

    def _asks(
        self, options: Options, given: Mapping[str, Any], documents: Documents | None
    ) -> Elsewhere | None:
        """Who may be asked for this request. Documents go nowhere but where the caller says so."""
        if documents is not None and given.get("allow_cloud") is not True:
            return None
        found = self.elsewhere
        return found if found is not None and options.allow_cloud and found.ready() else None


def check_progress(progress: ProgressCallback | None) -> ProgressCallback | None:
    """`progress`, if it is a function or None; InvalidRequest for anything else."""
    if progress is not None and not callable(progress):
        raise InvalidRequest(f"progress must be a function, got {type(progress).__name__}")
    return progress
