"""What ``/v1/messages`` answers: whole messages and the events of streams."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Literal

from cactus.server.anthropic.translate import tool_id
from cactus.server.endpoint import Reply
from cactus.types import Completion

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class TextBlock(Reply, kw_only=True, tag_field="type", tag="text"):
    """A text."""

    text: str
    citations: None = None


class ThinkingBlock(Reply, kw_only=True, tag_field="type", tag="thinking"):
    """What the model has thought."""

    thinking: str
    signature: str


class ToolUseBlock(Reply, kw_only=True, tag_field="type", tag="tool_use"):
    """A call."""

    id: str
    name: str
    input: dict[str, Any]


ReplyBlock = TextBlock | ThinkingBlock | ToolUseBlock


class Usage(Reply, kw_only=True):
    """Tokens: those of the prompt are the sum of the first three."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    service_tier: Literal["standard"] = "standard"


class MessageReply(Reply, kw_only=True):
    """An answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ReplyBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


class CountReply(Reply, kw_only=True):
    """The tokens of a prompt."""

    input_tokens: int


class MessageStart(Reply, kw_only=True, tag_field="type", tag="message_start"):
    """The first event: an answer without content."""

    message: MessageReply


class BlockStart(Reply, kw_only=True, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: ReplyBlock


class TextDelta(Reply, kw_only=True, tag_field="type", tag="text_delta"):
    """More of a text."""

    text: str


class ThinkingDelta(Reply, kw_only=True, tag_field="type", tag="thinking_delta"):
    """More of a thought."""

    thinking: str


class SignatureDelta(Reply, kw_only=True, tag_field="type", tag="signature_delta"):
    """What stands for a whole thought."""

    signature: str


class InputDelta(Reply, kw_only=True, tag_field="type", tag="input_json_delta"):
    """More of the arguments of a call."""

    partial_json: str


Delta = TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockDelta(Reply, kw_only=True, tag_field="type", tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: Delta


class BlockStop(Reply, kw_only=True, tag_field="type", tag="content_block_stop"):
    """A block is whole."""

    index: int


class Ending(Reply, kw_only=True):
    """Why the answer ends."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Reply, kw_only=True, tag_field="type", tag="message_delta"):
    """The answer has ended, and has cost this."""

    delta: Ending
    usage: Usage


class MessageStop(Reply, kw_only=True, tag_field="type", tag="message_stop"):
    """The last event."""


class Ping(Reply, kw_only=True, tag_field="type", tag="ping"):
    """Nothing has happened for a while."""


Event = (
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping
)  # fmt: skip


def content_of(done: Completion, hides: bool) -> list[ReplyBlock]:
    """The blocks of a whole answer."""
    blocks: list[ReplyBlock] = []
    if done.reasoning:
        shown = "" if hides else done.reasoning
        blocks.append(ThinkingBlock(thinking=shown, signature=signature(done.reasoning)))
    if done.text:
        blocks.append(TextBlock(text=done.text))
    for call, id in zip(done.function_calls, done.call_ids, strict=True):
        blocks.append(ToolUseBlock(id=tool_id(id), name=call["name"], input=call["arguments"]))
    return blocks


def signature(thought: str) -> str:
    """What clients give back with a thought, unread; the same thought has the same."""
    return blake2b(thought.encode(), digest_size=16).hexdigest()


def ending(done: Completion, max_tokens: int) -> Ending:
    """Why an answer has ended."""
    reason: StopReason = "end_turn"
    if done.finish_reason == "tool_calls":
        reason = "tool_use"
    elif done.finish_reason == "length":
        whole = done.metrics.decode_tokens >= max_tokens
        reason = "max_tokens" if whole else "model_context_window_exceeded"
    elif done.stop_sequence is not None:
        reason = "stop_sequence"
    found = done.stop_sequence if reason == "stop_sequence" else None
    return Ending(stop_reason=reason, stop_sequence=found)


def usage_of(done: Completion, *, cached: bool) -> Usage:
    """What an answer has cost.

    Every prompt is remembered. `cached`: the client has asked for it, and what was read counts as
    written to the cache.
    """
    read = done.metrics.prefill_tokens
    return Usage(
        input_tokens=0 if cached else read,
        cache_creation_input_tokens=read if cached else 0,
        cache_read_input_tokens=done.metrics.cached_tokens,
        output_tokens=done.metrics.decode_tokens,
    )
