"""What ``/api/chat`` and ``/api/generate`` answer: the lines of a stream, or all in one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from cactus.server.endpoint import Reply
from cactus.types import Completion, TokenLogprob


class LogprobOut(Reply, kw_only=True):
    """A token and how probable it was."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[LogprobOut] | UnsetType = UNSET


class FunctionOut(Reply, kw_only=True):
    """What is called."""

    index: int
    name: str
    arguments: dict[str, Any]


class CallOut(Reply, kw_only=True):
    """A call of a tool."""

    id: str
    function: FunctionOut


class MessageOut(Reply, kw_only=True):
    """What the model says, or more of it."""

    role: Literal["assistant"] = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[CallOut] | UnsetType = UNSET


class Line(Reply, kw_only=True):
    """What all lines have; the last one says why it is the last, and what the answer has cost.

    Durations are nanoseconds. `prompt_eval_count` are all tokens of the prompt, those that were
    remembered, too.
    """

    model: str
    created_at: str
    done: bool = False
    done_reason: Literal["stop", "length", "load", "unload"] | UnsetType = UNSET
    logprobs: list[LogprobOut] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class ChatLine(Line, kw_only=True):
    """A line of a chat."""

    message: MessageOut


class GenerateLine(Line, kw_only=True):
    """A line of what follows a prompt; `context` continues it."""

    response: str
    thinking: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET


@dataclass
class Clock:
    """When a request came, and how long its model took to be there."""

    began: float = field(default_factory=time.perf_counter)
    loaded_after: float = 0.0

    def loaded(self) -> None:
        """Note that the model is loaded now."""
        self.loaded_after = time.perf_counter() - self.began

    def times(self) -> dict[str, int]:
        """Nanoseconds since the request came, and of these until the model was loaded."""
        return {
            "total_duration": _nanoseconds(time.perf_counter() - self.began),
            "load_duration": _nanoseconds(self.loaded_after),
        }


def costs(done: Completion, clock: Clock) -> dict[str, Any]:
    """What an answer has cost, and why it has ended."""
    metrics = done.metrics
    first = metrics.time_to_first_token_ms / 1000
    return {
        "done": True,
        "done_reason": "length" if done.finish_reason == "length" else "stop",
        **clock.times(),
        "prompt_eval_count": metrics.prefill_tokens + metrics.cached_tokens,
        "prompt_eval_duration": _nanoseconds(first),
        "eval_count": metrics.decode_tokens,
        "eval_duration": _nanoseconds(metrics.total_time_ms / 1000 - first),
    }


def logprobs_of(tokens: Sequence[TokenLogprob]) -> list[LogprobOut]:
    """Tokens with their probabilities."""
    return [
        LogprobOut(
            token=one.text,
            logprob=one.logprob,
            bytes=list(one.bytes),
            top_logprobs=logprobs_of(one.top) if one.top else UNSET,
        )
        for one in tokens
    ]


def now() -> str:
    """The time, as it is written in every line."""
    return stamp(time.time())


def stamp(seconds: float) -> str:
    """A time as RFC 3339 has it."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))
