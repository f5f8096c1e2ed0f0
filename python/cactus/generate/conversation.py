"""A conversation that keeps its messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol

from cactus.calls.closing import NotCopied
from cactus.compat import Unpack
from cactus.errors import InvalidRequest
from cactus.generate.options import ChatOptions
from cactus.generate.streams import AsyncCompletionStream, CompletionStream
from cactus.inputs.checks import text
from cactus.inputs.values import clean, shown
from cactus.types import Completion

Message = dict[str, Any]


class ChatModel(Protocol):
    """What answers; `ChatMethods` is one."""

    def chat(self, messages: Any, **options: Unpack[ChatOptions]) -> Completion: ...
    def stream(self, messages: Any, **options: Unpack[ChatOptions]) -> CompletionStream: ...
    async def achat(self, messages: Any, **options: Unpack[ChatOptions]) -> Completion: ...
    def astream(self, messages: Any, **options: Unpack[ChatOptions]) -> AsyncCompletionStream: ...


class Conversation(NotCopied):
    """The turns of one conversation: every question is asked with all that was said before.

    ``Model.conversation`` makes it. A question and its answer are kept together once the answer has
    ended; one that was stopped, or whose stream was closed, is kept as far as it got. Nothing is
    kept of a call that raises, nor of a hand-off. Options given here hold for every turn.
    """

    def __init__(self, model: ChatModel, system: str | None, options: Mapping[str, Any]) -> None:
        self._model = model
        self._options = dict(options)
        first = [] if system is None else [{"role": "system", "content": text("system", system)}]
        self._first: list[Message] = first
        self._messages: list[Message] = list(first)

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._messages)} messages with {self._model!r}>"

    @property
    def messages(self) -> list[Message]:
        """All messages so far, as `Model.chat` takes them: a copy. Set them to go on from others.

        Raises InvalidRequest naming the message that is wrong.
        """
        return deepcopy(self._messages)

    @messages.setter
    def messages(self, messages: Sequence[Mapping[str, Any]]) -> None:
        from cactus.chat.messages import parse_messages

        if not isinstance(messages, (list, tuple)):
            got = type(messages).__name__
            raise InvalidRequest(f"messages must be a list of messages, got {got}")
        if messages:
            parse_messages(messages)
        try:
            self._messages = [dict(message) for message in deepcopy(messages)]
        except TypeError as error:  # a file object
            raise InvalidRequest(
                f"messages cannot be kept: {error}; give an image as its path or its bytes"
            ) from None

    def chat(
        self,
        question: str | None = None,
        *,
        images: Sequence[Any] = (),
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """The answer to `question`, a text; takes the options and raises the errors of a chat.

        `images` stand before the text, as in a message; they are kept as they are now, whatever
        becomes of a file or an array later. Without a question the model goes on from the results
        of the tools that it has called. Raises InvalidRequest if there are none.
        """
        turns, kept, asked = self._asked(question, images)
        completion = self._model.chat(turns, **self._with(options))
        self._keep(kept, asked, completion)
        return completion

    def stream(
        self,
        question: str | None = None,
        *,
        images: Sequence[Any] = (),
        **options: Unpack[ChatOptions],
    ) -> CompletionStream:
        """`chat` token by token; the answer is kept when the stream ends or is closed."""
        turns, kept, asked = self._asked(question, images)
        stream = self._model.stream(turns, **self._with(options))
        stream.when_ended(lambda completion: self._keep(kept, asked, completion))
        return stream

    async def achat(
        self,
        question: str | None = None,
        *,
        images: Sequence[Any] = (),
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """`chat`, awaited; cancelling the task stops the generation."""
        turns, kept, asked = self._asked(question, images)
        completion = await self._model.achat(turns, **self._with(options))
        self._keep(kept, asked, completion)
        return completion

    def astream(
        self,
        question: str | None = None,
        *,
        images: Sequence[Any] = (),
        **options: Unpack[ChatOptions],
    ) -> AsyncCompletionStream:
        """`stream` for ``async for``."""
        turns, kept, asked = self._asked(question, images)
        stream = self._model.astream(turns, **self._with(options))
        stream.when_ended(lambda completion: self._keep(kept, asked, completion))
        return stream

    def reset(self) -> None:
        """Forget all turns; the system message stays."""
        self._messages = list(self._first)

    def undo(self) -> None:
        """Take the last question back, with its answer. Raises InvalidRequest if there is none."""
        roles = [message["role"] for message in self._messages]
        if "user" not in roles:
            raise InvalidRequest("there is no question to take back: nothing was asked yet")
        last = len(roles) - 1 - roles[::-1].index("user")
        self._messages = self._messages[:last]

    def tool_result(self, result: Any, call_id: str | None = None) -> None:
        """What a tool gave that the last answer has called: a text, or a value that JSON has.

        `call_id` is that of the call; without it the results are in the order of the calls. Raises
        InvalidRequest if no such call waits for a result.
        """
        waiting = self._waiting()
        found = [call for call in waiting if call_id in (None, call.get("id"))]
        if not found:
            which = "" if call_id is None else f" {call_id!r}"
            raise InvalidRequest(
                f"tool_result: no call{which} waits for a result; those that do: "
                + (", ".join(str(call.get("id")) for call in waiting) or "none")
            )
        said = (
            result
            if isinstance(result, str)
            else json.dumps(clean(result, "result"), ensure_ascii=False)
        )
        id, name = found[0].get("id"), found[0].get("function", found[0])["name"]
        self._messages.append({"role": "tool", "tool_call_id": id, "name": name, "content": said})

    def _waiting(self) -> list[Message]:
        """The calls of the last answer that have no result yet."""
        turns = list(self._messages)
        answered = set()
        while turns and turns[-1]["role"] == "tool":
            answered.add(turns.pop().get("tool_call_id"))
        calls = (turns[-1].get("tool_calls") or []) if turns else []
        return [call for call in calls if call.get("id") not in answered]

    def _asked(
        self, question: str | None, images: Sequence[Any]
    ) -> tuple[list[Message], list[Message], Message | None]:
        """The messages to send, the list that the turn will be added to, and the question in it."""
        if not isinstance(images, (list, tuple)):
            raise InvalidRequest(f"images: expected a list of images, got {shown(images)}")
        if question is None:
            if images:
                raise InvalidRequest("images go with a question: give one")
            if not self._messages or self._messages[-1]["role"] != "tool":
                raise InvalidRequest(
                    "question must be a string, got None: it can be left out behind a result of a "
                    "tool only"
                )
            return list(self._messages), self._messages, None
        asked: Message = {"role": "user", "content": text("question", question)}
        if images:
            from cactus.vision.door import kept_images

            asked["images"] = kept_images(images)
        return [*self._messages, asked], self._messages, asked

    def _with(self, options: Mapping[str, Any]) -> Any:
        return {**self._options, **options}

    def _keep(self, kept: list[Message], asked: Message | None, completion: Completion) -> None:
        # Added to the list that the question was asked in: after a reset that is no longer ours.
        if completion.finish_reason == "handoff":
            return
        if asked is not None:
            kept.append(asked)
        kept.append(completion.message)
