"""``/v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from secrets import token_hex

from cactus.server.anthropic.body import CountRequest, MessageRequest
from cactus.server.anthropic.errors import DIALECT, PING
from cactus.server.anthropic.reply import (
    CountReply,
    Event,
    MessageDelta,
    MessageReply,
    MessageStart,
    MessageStop,
    Usage,
    content_of,
    ending,
    usage_of,
)
from cactus.server.anthropic.stream import Blocks
from cactus.server.anthropic.translate import Asked, asked_of
from cactus.server.endpoint import Ask, Endpoint, Stream, sse
from cactus.server.params import renaming
from cactus.server.questions import answer, streamed
from cactus.types import Completion


async def messages(ask: Ask[MessageRequest]) -> MessageReply | Stream:
    """Answer a chat."""
    asked = asked_of(ask.body, urls=ask.service.settings.image_urls)
    if ask.body.stream:
        return Stream(_events(ask, asked), ping=PING)
    async with ask.service.use(ask.body.model, "chat") as model:
        done = (await answer(model, asked.question))[0].done
        return _whole(ask.body, asked, done, model.name)


async def _events(ask: Ask[MessageRequest], asked: Asked) -> AsyncIterator[bytes]:
    blocks = Blocks(hides=asked.hides)
    async with (
        ask.service.use(ask.body.model, "chat") as model,
        aclosing(streamed(model, asked.question)) as pieces,
    ):
        async for piece in pieces:
            if piece.kind == "begin":
                yield sse(_start(piece.prompt_tokens, asked.cached, model.name), "message_start")
                yield PING
            for data in blocks.take(piece):
                yield data
            if piece.done is not None:
                whole = _whole(ask.body, asked, piece.done, model.name)
                end = ending(piece.done, ask.body.max_tokens)
                yield sse(MessageDelta(delta=end, usage=whole.usage), "message_delta")
    yield sse(MessageStop(), "message_stop")


def _whole(body: MessageRequest, asked: Asked, done: Completion, name: str) -> MessageReply:
    end = ending(done, body.max_tokens)
    return MessageReply(
        id=_new_id(),
        model=name,
        content=content_of(done, asked.hides),
        stop_reason=end.stop_reason,
        stop_sequence=end.stop_sequence,
        usage=usage_of(done, cached=asked.cached),
    )


def _start(prompt_tokens: int, cached: bool, name: str) -> MessageStart:
    """What of the prompt was remembered is told at the end, when it is known."""
    return MessageStart(
        message=MessageReply(
            id=_new_id(),
            model=name,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=Usage(
                input_tokens=0 if cached else prompt_tokens,
                cache_creation_input_tokens=prompt_tokens if cached else 0,
                cache_read_input_tokens=0,
                output_tokens=0,
            ),
        )
    )


def _new_id() -> str:
    return f"msg_{token_hex(12)}"


async def count_tokens(ask: Ask[CountRequest]) -> CountReply:
    """Count the tokens of a prompt."""
    asked = asked_of(ask.body, urls=ask.service.settings.image_urls)
    async with ask.service.use(ask.body.model, "chat") as model:
        with renaming(asked.question.names):
            count = await asyncio.to_thread(model.count_tokens, asked.messages, **asked.options)
    return CountReply(input_tokens=count)


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/messages",
        messages,
        DIALECT,
        "Answer a chat.",
        body=MessageRequest,
        reply=MessageReply,
        event=Event,
        errors=(404, 413, 429, 503),
    ),
    Endpoint(
        "POST",
        "/v1/messages/count_tokens",
        count_tokens,
        DIALECT,
        "Count the tokens of a prompt.",
        body=CountRequest,
        reply=CountReply,
        errors=(404, 413, 429, 503),
    ),
]
