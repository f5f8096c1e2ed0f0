"""An answer in pieces that every dialect can say: reasoning, text, calls of tools, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cactus.types import Completion, StreamEvent, TokenLogprob, ToolCallDelta

Kind = Literal["begin", "reasoning", "text", "call", "arguments", "tool", "end"]


class Piece(NamedTuple):
    """More of the answer number `choice`.

    "begin": the request is accepted, nothing has been said yet, and the prompt has `prompt_tokens`.
    "text" and "reasoning" have more of these in `text`, with the content's `tokens` where logprobs
    were asked for. "call": a call begins, of the tool `name`, with its `id` and its `number`; its
    arguments follow as pieces of JSON. "tool": one of the server's own tools, `state` says what it
    does. "end": the whole answer is in `done`.
    """

    choice: int
    kind: Kind
    text: str = ""
    tokens: tuple[TokenLogprob, ...] = ()
    number: int = 0
    id: str = ""
    name: str = ""
    state: Any = None
    done: Completion | None = None
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer; `tokens` are those of its content, where logprobs were asked for."""

    done: Completion
    tokens: tuple[TokenLogprob, ...] = ()


class Reader:
    """Makes pieces of the events of a stream.

    What begins like a call may prove to be none, and what a client was sent cannot be taken back:
    a call is shown once it is whole, unless `live`, where a grammar lets nothing else come.
    """

    def __init__(self, choice: int, *, live: bool) -> None:
        self._choice, self._live = choice, live
        self._thinking = False
        self._waiting: list[TokenLogprob] = []  # tokens whose text has not come yet
        self._call: str | None = None  # the one that is being written
        self._arguments: list[str] = []

    def read(self, event: StreamEvent) -> Iterator[Piece]:
        """The pieces of one event."""
        if event.kind == "tool_call":
            assert event.tool_call is not None
            self._waiting.clear()
            yield from self._of_call(event.tool_call)
            return
        if event.kind == "reasoning":
            self._thinking = True
            self._waiting.clear()
            if event.text:
                yield Piece(self._choice, "reasoning", event.text)
            return
        if event.logprob is not None:
            self._waiting.append(event.logprob)
        if event.text:
            if self._thinking:  # the tag that ends it is not content
                self._thinking = False
                del self._waiting[:-1]
            yield Piece(self._choice, "text", event.text, self.rest())

    def rest(self) -> tuple[TokenLogprob, ...]:
        """The tokens of content that have not been told; none of reasoning."""
        found = () if self._thinking else tuple(self._waiting)
        self._waiting.clear()
        return found

    def _of_call(self, delta: ToolCallDelta) -> Iterator[Piece]:
        if delta.id != self._call:
            self._call, self._arguments = delta.id, []
            if self._live:
                yield self._begun(delta)
        if self._live:
            if delta.arguments:
                yield self._piece(delta, delta.arguments)
        elif delta.call is not None:
            yield self._begun(delta)
            yield self._piece(delta, "".join([*self._arguments, delta.arguments]))
        else:
            self._arguments.append(delta.arguments)

    def _begun(self, delta: ToolCallDelta) -> Piece:
        return Piece(self._choice, "call", number=delta.index, id=delta.id, name=delta.name)

    def _piece(self, delta: ToolCallDelta, text: str) -> Piece:
        return Piece(self._choice, "arguments", text, number=delta.index, id=delta.id)
