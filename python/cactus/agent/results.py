"""What the loop tells: calls, their results, the steps, and all of it at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cactus.inputs.checks import short
from cactus.types import Completion, FinishReason, TokenLogprob

RunReason = FinishReason | Literal["max_steps"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model made. `arguments` are JSON, as the model wrote them."""

    id: str
    name: str
    arguments: dict[str, Any]


Approve = Callable[[ToolCall], Any]
"""Asked before each call: true runs it; false, or a text that says why, tells the model instead."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call.

    `text` is what the model is told, `value` what the function returned. `error` is what went
    wrong: what the function raised, or InvalidRequest for arguments that do not fit, a tool that
    does not exist, and a call that was not approved.
    """

    call: ToolCall
    text: str
    value: Any = None
    error: Exception | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The message with which the model is told."""
        return {
            "role": "tool",
            "tool_call_id": self.call.id,
            "name": self.call.name,
            "content": self.text,
        }


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One answer of the model, and the results of the calls in it, in their order."""

    completion: Completion
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolEvent:
    """Something that happens while tools are run.

    `kind` is "text" or "reasoning" (`text` is a piece of the model's answer), "call" (`call` is
    about to run) or "result" (`result` is there). `step` counts the answers of the model from 1.
    `logprob` is there if `logprobs` were asked for: once for each token of text or reasoning, of
    which `text` may then hold nothing yet.
    """

    kind: Literal["text", "reasoning", "call", "result"]
    step: int
    text: str = ""
    call: ToolCall | None = None
    result: ToolResult | None = None
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ToolRun:
    """What the model and its tools have come to. ``str`` of it is the text of the last answer.

    `messages` is the whole history: the messages that were given, every answer with its calls, and
    every result; append a question and go on. A call that was repeated in vain is in `steps` alone.
    `finish_reason` is that of the last answer; "max_steps" where that still called tools and no
    step was left; "tool_calls" where it called tools that are not Python functions. `pending` are
    the calls that nobody has run.
    """

    messages: list[dict[str, Any]]
    steps: tuple[ToolStep, ...]
    finish_reason: RunReason
    pending: tuple[ToolCall, ...] = ()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        calls = len(self.results)
        return (
            f"ToolRun({short(self.text)}, {self.finish_reason!r}, {len(self.steps)} steps, "
            f"{calls} {'call' if calls == 1 else 'calls'})"
        )

    @property
    def completion(self) -> Completion:
        """The last answer."""
        return self.steps[-1].completion

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.completion.text

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The results of all calls, in their order."""
        return tuple(result for step in self.steps for result in step.results)
