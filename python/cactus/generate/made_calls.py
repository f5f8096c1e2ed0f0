"""The calls of tools in one answer, and the events that show them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cactus.chat.calls.parser import Found
from cactus.types import StreamEvent, ToolCallDelta, call_id


class MadeCalls:
    """Gathers the calls in an answer to `prompt` from what a parser finds."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.calls: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self._prompt = prompt
        self._begun = 0
        self._id = self._name = ""

    def take(self, found: Found) -> ToolCallDelta:
        """What to show of one thing that was found."""
        if found.kind == "begin":
            # One that was dropped has had its id: the next has another.
            self._id = call_id(array("I", self._prompt).tobytes(), self._begun)
            self._name = found.text
            self._begun += 1
        delta = ToolCallDelta(len(self.calls), self._id, self._name)
        if found.kind == "piece":
            return replace(delta, arguments=found.text)
        if found.kind == "drop":
            return replace(delta, dropped=True)
        if found.kind == "end":
            self.calls.append({"name": self._name, "arguments": found.arguments})
            self.ids.append(self._id)
            return replace(delta, call=self.calls[-1])
        return delta


def merged(events: Sequence[StreamEvent]) -> list[StreamEvent]:
    """The events of one token that show something; neighbours of a kind, or of a call, are one."""
    result: list[StreamEvent] = []
    for event in events:
        if not event.text and event.tool_call is None:
            continue
        last = result[-1] if result else None
        if last is None or last.kind != event.kind:
            result.append(event)
        elif last.tool_call is None or event.tool_call is None:
            result[-1] = replace(last, text=last.text + event.text)
        elif last.tool_call.id == event.tool_call.id:
            call = event.tool_call
            call = replace(call, arguments=last.tool_call.arguments + call.arguments)
            result[-1] = replace(last, tool_call=call)
        else:
            result.append(event)
    return result
