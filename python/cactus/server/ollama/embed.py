"""``/api/embed``, and ``/api/embeddings``, which came before it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from cactus.server.endpoint import Ask, Body, Endpoint, Reply
from cactus.server.ollama.body import KeepAlive
from cactus.server.ollama.errors import DIALECT
from cactus.server.ollama.keep import using
from cactus.server.ollama.reply import Clock
from cactus.server.params import renaming


class EmbedRequest(Body, kw_only=True):
    """Texts whose vectors are wanted; one over the limit is cut unless `truncate` is false."""

    model: str
    input: str | list[str]
    truncate: bool | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    keep_alive: KeepAlive = None
    options: dict[str, Any] | None = None


class EmbedReply(Reply, kw_only=True):
    """Vectors of length 1, in the order of the texts."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class EmbeddingsRequest(Body, kw_only=True):
    """One text."""

    model: str
    prompt: str
    keep_alive: KeepAlive = None
    options: dict[str, Any] | None = None


class EmbeddingsReply(Reply, kw_only=True):
    """Its vector."""

    embedding: list[float]


async def embed(ask: Ask[EmbedRequest]) -> EmbedReply:
    """Make vectors of texts."""
    body, clock = ask.body, Clock()
    texts = [body.input] if isinstance(body.input, str) else body.input
    count, vectors = 0, []
    async with using(ask, "embed") as model:
        clock.loaded()
        if texts:
            with renaming({"texts": "input"}):
                found = await model.aembed(
                    texts,
                    truncate=body.truncate is not False,
                    dimensions=body.dimensions,
                    normalize=True,
                    progress=False,
                )
            count, vectors = sum(found.tokens), found.tolist()
    return EmbedReply(
        model=body.model, embeddings=vectors, prompt_eval_count=count, **clock.times()
    )


async def embeddings(ask: Ask[EmbeddingsRequest]) -> EmbeddingsReply:
    """Make the vector of a text."""
    async with using(ask, "embed") as model:
        found = await model.aembed(ask.body.prompt, truncate=True, progress=False)
    return EmbeddingsReply(embedding=found.tolist())


ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/embed",
        embed,
        DIALECT,
        "Make vectors of texts.",
        body=EmbedRequest,
        reply=EmbedReply,
        errors=(404, 413, 429, 503),
    ),
    Endpoint(
        "POST",
        "/api/embeddings",
        embeddings,
        DIALECT,
        "Make the vector of a text.",
        body=EmbeddingsRequest,
        reply=EmbeddingsReply,
        errors=(404, 413, 429, 503),
    ),
]
