"""An answer in pieces that every dialect can say: reasoning, text, calls of tools, and its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from cactus.types import Completion, StreamEvent, TokenLogprob, ToolCallDelta

Kind = Literal["begin", "reasoning", "text", "call", "arguments", "tool", "end"]


class Piece(NamedTuple):
    """More of the answer number `choice`.

    "begin": the request is accepted, nothing has been said yet, and the prompt has `prompt_tokens`.
    "text" and "reasoning" have more of these in `text`. "call": a call begins, of the tool `name`,
    with its `id` and its `number`; its arguments follow as pieces of JSON. "tool": one of the
    server's own tools, `state` says what it does. "end": the whole answer is in `done`. `tokens`
    are those of content that is whole by now, where logprobs were asked for.
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

    A token is told when all of its text has been shown. What ends the content, a stop string or a
    call, may begin within a token: of that one only the part is told that is content.
    """

    def __init__(self, choice: int, *, live: bool) -> None:
        self._choice, self._live = choice, live
        self._thinking = False
        self._waiting: deque[TokenLogprob] = deque()  # tokens of which some text may still come
        self._shown = b""  # what of their text has come
        self._cut: list[TokenLogprob] = []  # tokens that are to be told as far as they came
        self._call: str | None = None  # the one that is being written
        self._arguments: list[str] = []

    def read(self, event: StreamEvent) -> Iterator[Piece]:
        """The pieces of one event."""
        if event.kind == "tool_call":
            assert event.tool_call is not None
            self._end_content()
            yield from self._of_call(event.tool_call)
            return
        if event.kind == "reasoning":
            self._thinking = True
            self._end_content()
            if event.text:
                yield Piece(self._choice, "reasoning", event.text)
            return
        if event.logprob is not None:
            self._waiting.append(event.logprob)
        if event.text:
            self._shown += event.text.encode()
            if self._thinking:  # the tag that ends it is not content
                self._thinking = False
                while len(self._waiting) > 1 and not self._begins(self._waiting[0]):
                    self._waiting.popleft()
            yield Piece(self._choice, "text", event.text, self._whole())

    def rest(self) -> tuple[TokenLogprob, ...]:
        """What of the content's tokens has not been told; no more of it will come."""
        self._end_content()
        found = tuple(self._cut)
        self._cut.clear()
        return found

    def _begins(self, token: TokenLogprob) -> bool:
        return bool(token.bytes) and self._shown.startswith(token.bytes)

    def _whole(self) -> tuple[TokenLogprob, ...]:
        """The tokens all of whose text has come."""
        found, self._cut = self._cut, []
        at = 0
        while self._waiting:
            # Bytes that are no characters have been shown as U+FFFD, as in the text of the token.
            forms = (self._waiting[0].text.encode(), self._waiting[0].bytes)
            form = next((each for each in forms if self._shown.startswith(each, at)), None)
            if form is not None:
                found.append(self._waiting.popleft())
                at += len(form)
            elif any(each.startswith(self._shown[at:]) for each in forms):
                break
            else:  # their text is another among its neighbours than alone
                found += self._waiting
                self._waiting.clear()
        self._shown = self._shown[at:] if self._waiting else b""
        return tuple(found)

    def _end_content(self) -> None:
        """What waits is no content, but for the part of a token that has been shown."""
        if self._waiting and self._shown:
            text = self._shown.decode("utf-8", "replace")
            self._cut.append(replace(self._waiting[0], text=text, bytes=self._shown))
        self._waiting.clear()
        self._shown = b""

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
        return Piece(
            self._choice,
            "call",
            tokens=self.rest(),
            number=delta.index,
            id=delta.id,
            name=delta.name,
        )

    def _piece(self, delta: ToolCallDelta, text: str) -> Piece:
        return Piece(self._choice, "arguments", text, number=delta.index, id=delta.id)
