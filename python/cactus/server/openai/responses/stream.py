"""The events of a response: each of its items begins, grows and ends, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cactus.server.openai.replies import logprob_of
from cactus.server.openai.responses import objects
from cactus.server.openai.responses.items import new_id
from cactus.server.openai.responses.objects import (
    Event,
    FunctionCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningOutput,
    ReasoningText,
)
from cactus.server.pieces import Piece


class Writer:
    """Makes events of pieces; `output` are the items so far."""

    def __init__(self) -> None:
        self.output: list[OutputItem] = []
        self._open: OutputItem | None = None
        self._number = 0
        self._texts: list[str] = []

    def of_response(self, kind: type[Any], response: objects.Response) -> Event:
        """An event that shows the whole response."""
        event: Event = self._event(kind, response=response)
        return event

    def read(self, piece: Piece) -> Iterator[Event]:
        """The events of a piece."""
        if isinstance(self._open, OutputMessage) and piece.kind != "text":
            self._open.content[0].logprobs.extend(logprob_of(token) for token in piece.tokens)
        if piece.kind == "reasoning":
            if not isinstance(self._open, ReasoningOutput):
                item = ReasoningOutput(id=new_id("reasoning"), content=[], status="in_progress")
                yield from self._begin(item, ReasoningText(text=""))
            self._texts.append(piece.text)
            yield self._of_item(objects.ReasoningDelta, delta=piece.text)
        elif piece.kind == "text":
            yield from self._said(piece)
        elif piece.kind == "call":
            call = FunctionCall(
                id=new_id("function_call"),
                call_id=piece.id,
                name=piece.name,
                arguments="",
                status="in_progress",
            )
            yield from self._begin(call)
        elif piece.kind == "arguments":
            self._texts.append(piece.text)
            yield self._of_item(objects.ArgumentsDelta, delta=piece.text)
        elif piece.kind == "end":
            assert piece.done is not None
            if not self.output:
                yield from self._said(Piece(0, "text", ""))
            yield from self._end(cut=piece.done.finish_reason == "length")

    def _said(self, piece: Piece) -> Iterator[Event]:
        if not isinstance(self._open, OutputMessage):
            message = OutputMessage(id=new_id("message"), status="in_progress", content=[])
            yield from self._begin(message, OutputText(text=""))
            assert isinstance(self._open, OutputMessage)
            self._open.content = [OutputText(text="", logprobs=[])]
        if piece.text:
            self._texts.append(piece.text)
            logprobs = [logprob_of(token) for token in piece.tokens]
            self._open.content[0].logprobs.extend(logprobs)
            yield self._of_item(objects.TextDelta, delta=piece.text, logprobs=logprobs)

    def _begin(self, item: OutputItem, part: objects.Part | None = None) -> Iterator[Event]:
        yield from self._end()
        self.output.append(item)
        self._open, self._texts = item, []
        yield self._event(objects.ItemAdded, output_index=len(self.output) - 1, item=item)
        if part is not None:
            yield self._of_item(objects.PartAdded, part=part)

    def _end(self, *, cut: bool = False) -> Iterator[Event]:
        """The item that is open, if any, is whole, or is cut."""
        item, text = self._open, "".join(self._texts)
        if item is None:
            return
        if isinstance(item, FunctionCall):
            item.arguments = text
            yield self._of_item(objects.ArgumentsDone, name=item.name, arguments=text)
        else:
            part: objects.Part
            if isinstance(item, ReasoningOutput):
                part = ReasoningText(text=text)
                item.content = [part]
                yield self._of_item(objects.ReasoningDone, text=text)
            else:
                part = item.content[0]
                part.text = text
                yield self._of_item(objects.TextDone, text=text, logprobs=part.logprobs)
            yield self._of_item(objects.PartDone, part=part)
        item.status = "incomplete" if cut else "completed"
        yield self._event(objects.ItemDone, output_index=len(self.output) - 1, item=item)
        self._open = None

    def _of_item(self, kind: type[Any], **fields: Any) -> Event:
        assert self._open is not None
        event: Event = self._event(
            kind, item_id=self._open.id, output_index=len(self.output) - 1, **fields
        )
        return event

    def _event(self, kind: type[Any], **fields: Any) -> Any:
        event = kind(sequence_number=self._number, **fields)
        self._number += 1
        return event
