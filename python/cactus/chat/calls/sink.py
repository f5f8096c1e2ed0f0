"""What a reader of calls tells as it goes, before it knows whether the call is whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cactus.chat.calls.source import Source

JsonSchema = Mapping[str, Any]

MAX_DEPTH = 64
"""Levels of nesting in arguments; deeper ones are not a call."""


class Sink(Protocol):
    """Where a reader puts a call: its name, its arguments as pieces of JSON, and that it is done.

    A reader that raises Broken takes back what it has told of the call that it was reading.
    """

    source: Source
    tools: Mapping[str, JsonSchema]
    """The parameters of each declared tool, by its name."""

    def name(self, name: str) -> None: ...
    def piece(self, json_text: str) -> None: ...
    def done(self, arguments: dict[str, Any]) -> None: ...
