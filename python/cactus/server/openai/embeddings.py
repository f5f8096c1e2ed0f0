"""``/v1/embeddings``."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from cactus.server.endpoint import Ask, Body, Endpoint, Reply, encode
from cactus.server.openai.errors import DIALECT
from cactus.server.params import invalid, renaming

if TYPE_CHECKING:
    import numpy as np

    from cactus.model import Model

MAX_INPUTS = 2048
"""Texts of a request, as OpenAI has it."""

Text = Annotated[str, Meta(min_length=1)]
Tokens = Annotated[list[int], Meta(min_length=1)]

_NAMES = {"text": "input", "texts": "input", "prompt": "input_type"}

_KINDS = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "search_document": "document",
    "passage": "document",
}


class EmbeddingRequest(Body, kw_only=True):
    """Texts to make vectors of.

    Beyond OpenAI's fields: `input_type` says what the texts are for, where the model makes a
    difference; `truncate` reads only the beginning of a text that is too long; `normalize` false
    leaves vectors at the length that the model gives them; `own_tokens` says that token ids in
    `input` are of this model's own vocabulary.
    """

    input: Text | Annotated[list[Text | int | Tokens], Meta(min_length=1, max_length=MAX_INPUTS)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None
    input_type: (
        Literal["query", "search_query", "document", "search_document", "passage"] | None
    ) = None
    truncate: bool = False
    normalize: bool = True
    own_tokens: bool = False


class Embedding(Reply, kw_only=True):
    """The vector of a text: numbers, or base64 of them as little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Reply, kw_only=True):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(Reply, kw_only=True):
    """The vectors, in the order of the texts. `truncated`: the texts that were cut, if any were."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    truncated: list[int] | UnsetType = UNSET


async def embed(ask: Ask[EmbeddingRequest]) -> Response:
    """The vectors of texts."""
    body = ask.body
    inputs, single = _inputs(body)
    options: Any = {
        "prompt": None if body.input_type is None else _KINDS[body.input_type],
        "dimensions": body.dimensions,
        "normalize": body.normalize,
        "truncate": body.truncate,
    }
    async with ask.service.use(body.model, "embed") as model:
        with renaming(_NAMES):
            vectors = await model.aembed(inputs[0] if single else inputs, progress=False, **options)
        # Thousands of vectors as text take a while in which other requests go on.
        raw = await asyncio.to_thread(_written, model, vectors, body.encoding_format)
    return Response(raw, media_type="application/json")


def _inputs(body: EmbeddingRequest) -> tuple[list[str | Tokens], bool]:
    """The texts that are asked for, and whether it is one, not a list.

    Raises ApiError for what is not a text, or not like the others.
    """
    given: Any = body.input
    single = isinstance(given, str) or all(isinstance(each, int) for each in given)
    several: list[Any] = [given] if single else given
    for index, each in enumerate(several):
        name = "input" if single else f"input[{index}]"
        if isinstance(each, int) or type(each) is not type(several[0]):
            raise invalid("expected strings, or lists of token ids, all of one kind", name)
        if isinstance(each, list) and not body.own_tokens:
            raise invalid(
                "token ids are refused, since other models number them otherwise: send the text; "
                "LangChain does with OpenAIEmbeddings(check_embedding_ctx_length=False). Ids of "
                'this very model, as /tokenize gives them, are read with "own_tokens": true',
                name,
            )
    return several, single


def _written(model: Model, vectors: Any, form: str | None) -> bytes:
    rows = vectors.reshape(-1, vectors.shape[-1])
    data = [
        Embedding(index=index, embedding=_base64(row) if form == "base64" else row.tolist())
        for index, row in enumerate(rows)
    ]
    read = sum(vectors.tokens)
    return encode(
        EmbeddingReply(
            data=data,
            model=model.name,
            usage=EmbeddingUsage(prompt_tokens=read, total_tokens=read),
            truncated=list(vectors.truncated) or UNSET,
        )
    )


def _base64(row: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/embeddings",
        embed,
        DIALECT,
        "Make vectors of texts.",
        body=EmbeddingRequest,
        reply=EmbeddingReply,
        errors=(404, 413, 503),
        tag="embeddings",
    ),
]
