"""``/v1/chat/completions``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any, Literal

from cactus.server.endpoint import Ask, Body, Endpoint, Reply, Stream, sse
from cactus.server.openai.errors import DIALECT
from cactus.types import Completion


class ChatRequest(Body, kw_only=True):
    """What is asked."""

    messages: list[dict[str, Any]]
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stream: bool = False


class Message(Reply, kw_only=True):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None


class Choice(Reply, kw_only=True):
    """One answer."""

    index: int
    message: Message
    finish_reason: str
    logprobs: None = None


class Usage(Reply, kw_only=True):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatReply(Reply, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(Reply, kw_only=True):
    """More of what the model says."""

    role: str | None = None
    content: str | None = None


class ChunkChoice(Reply, kw_only=True):
    """More of one answer."""

    index: int
    delta: Delta
    finish_reason: str | None = None


class Chunk(Reply, kw_only=True):
    """A piece of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]


async def chat(ask: Ask[ChatRequest]) -> ChatReply | Stream:
    """Answer a chat."""
    body = ask.body
    head: dict[str, Any] = {"id": f"chatcmpl-{token_hex(12)}", "created": int(time.time())}
    options: Any = {"max_tokens": body.max_tokens, "temperature": body.temperature}
    if body.stream:
        return Stream(_events(ask, head, options))
    async with ask.service.use(body.model, "chat") as model:
        done = await model.achat(body.messages, **options)
        choice = Choice(
            index=0, message=Message(content=done.text), finish_reason=done.finish_reason
        )
        return ChatReply(**head, model=model.name, choices=[choice], usage=usage(done))


async def _events(
    ask: Ask[ChatRequest], head: dict[str, Any], options: Any
) -> AsyncIterator[bytes]:
    async with (
        ask.service.use(ask.body.model, "chat") as model,
        model.astream(ask.body.messages, **options) as stream,
    ):

        def chunk(delta: Delta, reason: str | None = None) -> bytes:
            choice = ChunkChoice(index=0, delta=delta, finish_reason=reason)
            return sse(Chunk(**head, model=model.name, choices=[choice]))

        yield chunk(Delta(role="assistant", content=""))
        async for event in stream:
            if event.text:
                yield chunk(Delta(content=event.text))
        yield chunk(Delta(), stream.completion.finish_reason)
    yield b"data: [DONE]\n\n"


def usage(done: Completion) -> Usage:
    """The tokens of an answer; those of the prompt with those that were remembered."""
    read = done.metrics.prefill_tokens + done.metrics.cached_tokens
    written = done.metrics.decode_tokens
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/chat/completions",
        chat,
        DIALECT,
        "Answer a chat.",
        body=ChatRequest,
        reply=ChatReply,
        event=Chunk,
    ),
]
