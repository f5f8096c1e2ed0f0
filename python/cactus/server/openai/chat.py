"""``/v1/chat/completions``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from math import exp
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from cactus.server.endpoint import Ask, Endpoint, Stream, sse
from cactus.server.openai import replies
from cactus.server.openai.errors import DIALECT
from cactus.server.openai.replies import (
    DONE,
    ChatReply,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Told,
    head_of,
)
from cactus.server.openai.request import ChatRequest, question_of
from cactus.server.passages import passage_id
from cactus.server.pieces import Answered, Piece
from cactus.server.questions import answer, streamed
from cactus.server.usage import tokens_of

if TYPE_CHECKING:
    from cactus.model import Model
    from cactus.types import Completion, TokenLogprob


async def chat(ask: Ask[ChatRequest]) -> ChatReply | Stream:
    """Answer a chat."""
    if ask.body.stream:
        return Stream(_events(ask))
    async with ask.service.use(ask.body.model, "chat") as model:
        question = await question_of(ask, model)
        found = await answer(model, question)
        return _reply(ask, model, found)


def _head(ask: Ask[ChatRequest], model: Model) -> dict[str, Any]:
    tier = UNSET if ask.body.service_tier is None else "default"
    return {**head_of("chatcmpl", model, ask.body.model), "service_tier": tier}


def _reply(ask: Ask[ChatRequest], model: Model, found: Sequence[Answered]) -> ChatReply:
    body = ask.body
    told = [_told(ask, model, each.done, each.tokens) for each in found]
    alone = len(found) == 1
    choices = [
        Choice(
            index=index,
            message=replies.message_of(each.done),
            finish_reason=replies.reason_of(each.done),
            logprobs=replies.logprobs_of(each.tokens) if body.logprobs else None,
            cactus=UNSET if alone else told[index],
        )
        for index, each in enumerate(found)
    ]
    return ChatReply(
        **_head(ask, model),
        choices=choices,
        usage=replies.usage_of(tokens_of(model, [each.done for each in found])),
        metadata=body.metadata if body.metadata is not None else UNSET,
        cactus=told[0] if alone else UNSET,
    )


async def _events(ask: Ask[ChatRequest]) -> AsyncGenerator[bytes, None]:
    async with ask.service.use(ask.body.model, "chat") as model:
        question = await question_of(ask, model)
        writer = _Writer(ask, model)
        async with aclosing(streamed(model, question)) as pieces:
            async for piece in pieces:
                for chunk in writer.chunks(piece):
                    yield sse(chunk)
        if ask.body.wants_usage:
            yield sse(writer.usage())
    yield DONE


class _Writer:
    """Makes chunks of pieces."""

    def __init__(self, ask: Ask[ChatRequest], model: Model) -> None:
        self._ask, self._model, self._head = ask, model, _head(ask, model)
        self._done: dict[int, Completion] = {}

    def chunks(self, piece: Piece) -> list[Chunk]:
        """The chunks of one piece."""
        if piece.kind == "begin":
            return [self._chunk(piece, Delta(role="assistant", content=""))]
        if piece.kind == "text":
            return [self._chunk(piece, Delta(content=piece.text))]
        if piece.kind == "reasoning":
            return [self._chunk(piece, Delta(reasoning_content=piece.text))]
        if piece.kind == "call":
            named = replies.FunctionDelta(name=piece.name, arguments="")
            call = replies.ToolCallDelta(
                index=piece.number, id=piece.id, type="function", function=named
            )
            return [self._chunk(piece, Delta(tool_calls=[call]))]
        if piece.kind == "arguments":
            more = replies.FunctionDelta(arguments=piece.text)
            call = replies.ToolCallDelta(index=piece.number, function=more)
            return [self._chunk(piece, Delta(tool_calls=[call]))]
        if piece.kind == "tool":
            told = Told(tool=piece.state, confidences=_confidences(self._ask, piece.tokens))
            return [self._chunk(piece, Delta(), told)]
        assert piece.done is not None
        self._done[piece.choice] = piece.done
        whole = _told(self._ask, self._model, piece.done, piece.tokens)
        return [self._chunk(piece, Delta(), whole, replies.reason_of(piece.done))]

    def usage(self) -> Chunk:
        """The chunk behind the last, with the tokens of all answers."""
        answers = [self._done[choice] for choice in sorted(self._done)]
        usage = replies.usage_of(tokens_of(self._model, answers))
        return Chunk(**self._head, choices=[], usage=usage)

    def _chunk(
        self,
        piece: Piece,
        delta: Delta,
        told: Told | UnsetType = UNSET,
        reason: replies.Reason | None = None,
    ) -> Chunk:
        body = self._ask.body
        logprobs = replies.logprobs_of(piece.tokens) if body.logprobs and piece.tokens else UNSET
        sure = _confidences(self._ask, piece.tokens)
        if told is UNSET and sure is not UNSET:
            told = Told(confidences=sure)
        choice = ChunkChoice(
            index=piece.choice, delta=delta, finish_reason=reason, logprobs=logprobs
        )
        return Chunk(**self._head, choices=[choice], cactus=told)


def _confidences(
    ask: Ask[ChatRequest], tokens: Sequence[TokenLogprob]
) -> list[tuple[str, float]] | UnsetType:
    """How probable each token was, by the model itself, where that is asked for."""
    extras = ask.body.cactus
    if extras is None or not extras.confidences or not tokens:
        return UNSET
    return [(token.text, round(exp(token.logprob), 4)) for token in tokens]


def _told(
    ask: Ask[ChatRequest], model: Model, done: Completion, tokens: Sequence[TokenLogprob]
) -> Any:
    """What only this server tells of a whole answer, where it is asked to."""
    extras = ask.body.cactus
    if extras is None:
        return UNSET
    metrics = done.metrics
    unenforced = () if done.structure is None else done.structure.unenforced
    return Told(
        confidences=_confidences(ask, tokens),
        confidence=round(done.confidence, 4),
        prompt_tokens=metrics.prefill_tokens + metrics.cached_tokens,
        cached_tokens=metrics.cached_tokens,
        context_length=model.context_length,
        prefill_tps=round(metrics.prefill_tps, 2),
        decode_tps=round(metrics.decode_tps, 2),
        time_to_first_token_ms=round(metrics.time_to_first_token_ms, 2),
        citations=[
            replies.Cited(
                text_start=each.answer_start,
                text_end=each.answer_end,
                source=each.source,
                place=each.place,
                passage_id=passage_id(each.source, each.start, each.end),
                score=round(each.support, 4),
            )
            for each in done.citations
        ],
        reading=None if done.reading is None else str(done.reading),
        call_ids=list(done.call_ids),
        unenforced=list(unenforced) if unenforced else UNSET,
    )


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
        errors=(404, 413, 415, 429, 503),
        tag="chat",
    ),
]
