"""Whole answers and chunks of ``/v1/chat/completions``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from cactus.model import Model
from cactus.server.endpoint import Reply
from cactus.server.openai.fingerprint import fingerprint
from cactus.server.usage import Tokens
from cactus.types import Completion, TokenLogprob

Reason = Literal["stop", "length", "tool_calls"]

DONE = b"data: [DONE]\n\n"
"""The end of a stream."""


class Head(Reply, kw_only=True):
    """What all replies and chunks of chats and completions begin with."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class PromptDetails(Reply, kw_only=True):
    """Tokens of the prompt that were remembered."""

    cached_tokens: int


class CompletionDetails(Reply, kw_only=True):
    """Tokens of the answers that are reasoning."""

    reasoning_tokens: int


class Usage(Reply, kw_only=True):
    """Tokens that were read and written; a prompt with several answers counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class TopLogprob(Reply, kw_only=True):
    """A token that could have come, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class Logprob(Reply, kw_only=True):
    """A token of the content, and the likeliest ones at its place."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class Logprobs(Reply, kw_only=True):
    """The tokens of the content."""

    content: list[Logprob]
    refusal: None = None


class Function(Reply, kw_only=True):
    """The function that the model calls; `arguments` are JSON."""

    name: str
    arguments: str


class ToolCall(Reply, kw_only=True):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: Function


class ChatMessage(Reply, kw_only=True):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Cited(Reply, kw_only=True):
    """A part of the answer that a document supports."""

    text_start: int
    text_end: int
    source: str
    place: str
    passage_id: str
    score: float


class Told(Reply, kw_only=True):
    """What only this server tells; `tool` while one of its own tools runs."""

    confidences: list[tuple[str, float]] | UnsetType = UNSET
    tool: dict[str, Any] | UnsetType = UNSET
    confidence: float | UnsetType = UNSET
    prompt_tokens: int | UnsetType = UNSET
    cached_tokens: int | UnsetType = UNSET
    context_length: int | UnsetType = UNSET
    prefill_tps: float | UnsetType = UNSET
    decode_tps: float | UnsetType = UNSET
    time_to_first_token_ms: float | UnsetType = UNSET
    citations: list[Cited] | UnsetType = UNSET
    reading: str | UnsetType | None = UNSET
    call_ids: list[str] | UnsetType = UNSET
    unenforced: list[str] | UnsetType = UNSET


class Choice(Reply, kw_only=True):
    """One answer. What `cactus` tells of it is here where there are several."""

    index: int
    message: ChatMessage
    finish_reason: Reason
    logprobs: Logprobs | None = None
    cactus: Told | UnsetType = UNSET


class ChatReply(Head, kw_only=True):
    """The answers to a chat. `cactus` is here where there is one."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[Choice]
    usage: Usage
    service_tier: Literal["default"] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    cactus: Told | UnsetType = UNSET


class FunctionDelta(Reply, kw_only=True):
    """More of a call: the name comes first, then pieces of the arguments."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallDelta(Reply, kw_only=True):
    """More of the call number `index`."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class Delta(Reply, kw_only=True):
    """More of what the model says."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Reply, kw_only=True):
    """More of one answer."""

    index: int
    delta: Delta
    finish_reason: Reason | None = None
    logprobs: Logprobs | UnsetType = UNSET


class Chunk(Head, kw_only=True):
    """A piece of a streamed answer."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChunkChoice]
    service_tier: Literal["default"] | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    cactus: Told | UnsetType = UNSET


def head_of(kind: Literal["chatcmpl", "cmpl"], model: Model, name: str | None) -> dict[str, Any]:
    """The fields of `Head`, with a new id; `name` is what the request calls the model."""
    return {
        "id": f"{kind}-{token_hex(12)}",
        "created": int(time.time()),
        "model": name or model.name,
        "system_fingerprint": fingerprint(model),
    }


def usage_of(tokens: Tokens) -> Usage:
    """Tokens as OpenAI counts them."""
    return Usage(
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.written,
        total_tokens=tokens.total,
        prompt_tokens_details=PromptDetails(cached_tokens=tokens.cached),
        completion_tokens_details=CompletionDetails(reasoning_tokens=tokens.reasoning),
    )


def reason_of(done: Completion) -> Reason:
    """Why an answer ended."""
    reason = done.finish_reason
    return reason if reason in ("length", "tool_calls") else "stop"


def message_of(done: Completion) -> ChatMessage:
    """An answer as a message."""
    calls = [
        ToolCall(id=id, function=Function(name=call["name"], arguments=written(call["arguments"])))
        for id, call in zip(done.call_ids, done.function_calls, strict=True)
    ]
    return ChatMessage(
        content=done.text if done.text or not calls else None,
        reasoning_content=UNSET if done.reasoning is None else done.reasoning,
        tool_calls=calls or UNSET,
    )


def written(arguments: Any) -> str:
    """The arguments of a call as JSON, as a stream writes them."""
    return json.dumps(arguments, ensure_ascii=False)


def logprobs_of(tokens: Sequence[TokenLogprob]) -> Logprobs:
    """Tokens with their logprobs."""
    return Logprobs(content=[logprob_of(token) for token in tokens])


def logprob_of(token: TokenLogprob) -> Logprob:
    """One token with its logprob, and the likeliest ones."""
    return Logprob(
        token=token.text,
        logprob=token.logprob,
        bytes=list(token.bytes),
        top_logprobs=[
            TopLogprob(token=each.text, logprob=each.logprob, bytes=list(each.bytes))
            for each in token.top
        ],
    )
