"""``/tokenize`` and ``/detokenize``, with the fields that llama.cpp's and vLLM's servers have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cactus.server.endpoint import Ask, Body, Endpoint, Reply
from cactus.server.errors import ApiError
from cactus.server.openai.errors import DIALECT
from cactus.server.params import renaming

if TYPE_CHECKING:
    from cactus.server.models import Served


class TokenizeRequest(Body, kw_only=True):
    """A text: as `content` or as `prompt`."""

    content: str | None = None
    prompt: str | None = None
    model: str | None = None
    with_pieces: bool = False


class Piece(Reply, kw_only=True):
    """A token and its text, which has U+FFFD where that is not whole characters."""

    id: int
    piece: str


class TokenizeReply(Reply, kw_only=True):
    """The ids of a text's tokens. No special tokens are added, and none are recognised."""

    tokens: list[int | Piece]
    count: int
    max_model_len: int


class DetokenizeRequest(Body, kw_only=True):
    """The ids of tokens."""

    tokens: list[int]
    model: str | None = None


class DetokenizeReply(Reply, kw_only=True):
    """Their text, twice: as one server calls it and as the other."""

    content: str
    prompt: str


def _model(ask: Ask[TokenizeRequest] | Ask[DetokenizeRequest]) -> Served:
    """Any model has tokens; without a name it is the default."""
    service, name = ask.service, ask.body.model
    found = service.named(name) if name else next(iter(service.served), None)
    return service.find(name, "chat") if found is None else found


async def tokenize(ask: Ask[TokenizeRequest]) -> TokenizeReply:
    """The tokens of a text."""
    body = ask.body
    text = body.prompt if body.content is None else body.content
    if text is None:
        raise ApiError(400, "content: expected a string", code="invalid_type", param="content")
    served = _model(ask)
    async with ask.service.use(served.name, served.abilities[0]) as model:
        ids = await asyncio.to_thread(model.tokenize, text)
        tokens: list[int | Piece] = list(ids)
        if body.with_pieces:
            pieces = await asyncio.to_thread(lambda: [model.detokenize([id]) for id in ids])
            tokens = [Piece(id=id, piece=piece) for id, piece in zip(ids, pieces, strict=True)]
        return TokenizeReply(tokens=tokens, count=len(ids), max_model_len=model.context_length)


async def detokenize(ask: Ask[DetokenizeRequest]) -> DetokenizeReply:
    """The text of tokens."""
    served = _model(ask)
    async with ask.service.use(served.name, served.abilities[0]) as model:
        with renaming({"ids": "tokens"}):
            text = await asyncio.to_thread(model.detokenize, ask.body.tokens, skip_special=False)
    return DetokenizeReply(content=text, prompt=text)


ENDPOINTS = [
    Endpoint(
        "POST",
        "/tokenize",
        tokenize,
        DIALECT,
        "The tokens of a text.",
        body=TokenizeRequest,
        reply=TokenizeReply,
    ),
    Endpoint(
        "POST",
        "/detokenize",
        detokenize,
        DIALECT,
        "The text of tokens.",
        body=DetokenizeRequest,
        reply=DetokenizeReply,
    ),
]
