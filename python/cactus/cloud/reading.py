"""What a service says, whichever API it has: its text, its calls, why it ended, what it cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from cactus.cloud.question import Question
from cactus.errors import CloudError, InvalidRequest
from cactus.inputs.text import clean_text
from cactus.inputs.values import clean, parse_json
from cactus.types import FinishReason, call_id

MOST_CALLS = 128


def bad(what: str) -> CloudError:
    """The error for a reply that is not what the API says it is."""
    return CloudError(f"the reply cannot be used: {what}", code="bad_reply")


def field_of(reply: Any, name: str, kind: type) -> Any:
    """A field of a reply. Raises CloudError where there is none of that kind."""
    if not isinstance(reply, dict):
        raise bad(f"expected a JSON object, got {type(reply).__name__}")
    value = reply.get(name)
    if not isinstance(value, kind):
        got = f"{type(value).__name__}" if name in reply else "none"
        raise bad(f"expected {name}, got {got}")
    return value


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class Reading(ABC):
    """Collects one reply, whole or event by event. Every mistake in it is a CloudError.

    `reason` is there once the service has said why the reply ended. `usage`: tokens that it read
    and wrote, as it says.
    """

    def __init__(self, question: Question) -> None:
        self.reason: FinishReason | None = None
        self.usage: tuple[int | None, int | None] = (None, None)
        self._question = question
        self._new: list[str] = []
        self._has_text = False
        self._calls: dict[int, _Call] = {}
        self._numbers: dict[int, int] = {}  # of the calls that the service's numbers mean now

    @abstractmethod
    def whole(self, reply: Any) -> None:
        """A reply in one piece."""

    @abstractmethod
    def event(self, event: Any) -> None:
        """One event of a stream."""

    def take(self) -> str:
        """The text that is new since the last call."""
        text = "".join(self._new)
        self._new.clear()
        return text

    @property
    def finish_reason(self) -> FinishReason:
        """Why the reply ended. Services do not agree on what to say of one that calls."""
        if self.reason in (None, "stop", "tool_calls"):
            return "tool_calls" if self._calls else "stop"
        return self.reason

    def function_calls(self) -> tuple[dict[str, Any], ...]:
        """The calls, in our form. Raises CloudError for one of a tool that was not offered."""
        return tuple(self._checked(self._calls[index]) for index in sorted(self._calls))

    @property
    def call_ids(self) -> tuple[str, ...]:
        """The service's ids of the calls, or such as ours where it gave none."""
        calls = [self._calls[index] for index in sorted(self._calls)]
        return tuple(
            call.id or call_id(f"{call.name}{call.arguments}".encode(), index)
            for index, call in enumerate(calls)
        )

    def check_whole(self) -> None:
        """Raises CloudError where the stream has ended in the middle, or said nothing."""
        if self.reason is None:
            raise CloudError("the reply ended in the middle", code="reset")
        if not self._has_text and not self._calls:
            raise CloudError("the reply is empty", code="empty")
        asked = self._question
        if asked.tool_choice not in ("auto", "none") and not self._calls and not asked.streamed:
            raise bad("it calls no tool, and has to")

    # -- for the APIs

    def add_text(self, text: str) -> None:
        """A piece of the text."""
        if text:
            self._has_text = True
            self._new.append(clean_text(text))  # JSON may have half a surrogate pair

    def add_call(self, index: object, id: object, name: object, arguments: object) -> None:
        """A piece of the call with a number: its id and name once, its arguments' JSON in bits."""
        if not isinstance(index, int) or not 0 <= index < MOST_CALLS:
            raise bad("a call has no number")
        for value in (id, name, arguments):
            if value is not None and not isinstance(value, str):
                raise bad("the name or the arguments of a call are not texts")
        call = self._calls.setdefault(self._numbers.get(index, index), _Call())
        if id and call.id and id != call.id:  # some services give all calls one number
            self._numbers[index] = max(self._calls) + 1
            call = self._calls[self._numbers[index]] = _Call()
        call.id = call.id or str(id or "")
        call.name += str(name or "")
        call.arguments += str(arguments or "")

    def count(self, read: object, written: object) -> None:
        """Tokens that the service says it read and wrote."""
        before = self.usage
        self.usage = (
            read if isinstance(read, int) else before[0],
            written if isinstance(written, int) else before[1],
        )

    def check_error(self, reply: Any) -> None:
        """Raises CloudError where the reply is an error, as it may be in the middle of a stream."""
        if isinstance(reply, dict) and reply.get("error"):
            raise CloudError(f"the service says: {error_text(reply)}", code="error")

    def refused(self) -> None:
        """The service did not want to answer. Raises CloudError."""
        raise CloudError("the service refused to answer", code="refused")

    def _checked(self, call: _Call) -> dict[str, Any]:
        if call.name not in self._question.tool_names:
            raise bad("it calls a tool that was not offered")
        try:
            arguments = clean(parse_json(call.arguments or "{}", "arguments"), "arguments")
        except InvalidRequest:
            arguments = None
        if not isinstance(arguments, dict):
            raise bad(f"the arguments of its call of {call.name} are no JSON object")
        return {"name": call.name, "arguments": arguments}


def error_text(reply: Any) -> str:
    """The service's own words for an error, "" if there are none."""
    error = reply.get("error", reply.get("message")) if isinstance(reply, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("type")
    return error if isinstance(error, str) else ""
