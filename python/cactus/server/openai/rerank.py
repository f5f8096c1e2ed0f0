"""``/v1/rerank``, ``/v2/rerank`` and ``/rerank``, as clients of Cohere, Jina and vLLM know them.

And at ``/rerank`` those of text-embeddings-inference, whose fields are others.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from cactus.server.endpoint import Ask, Body, Endpoint, Reply, sse
from cactus.server.errors import ApiError
from cactus.server.openai.errors import DIALECT
from cactus.server.params import invalid, renaming
from cactus.types import RankedText

MAX_DOCUMENTS = 10_000
"""Texts of a request, as Cohere has it."""


class Document(Body, kw_only=True):
    """A text, where it is not sent as a string. Other fields of it are not read."""

    text: str


Documents = Annotated[list[str | Document], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
Texts = Annotated[list[str], Meta(min_length=1, max_length=MAX_DOCUMENTS)]


class RankingRequest(Body, kw_only=True):
    """A query, by which texts are to be ordered: the best answer to it comes first.

    `top_n`: only so many of them are in the answer. `truncate` reads only the beginning of a text
    that does not fit beside the query, which is an error otherwise.
    """

    query: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None
    truncate: bool | None = None
    rank_fields: list[str] | None = None
    max_chunks_per_doc: int | None = None
    max_tokens_per_doc: int | None = None


class RerankRequest(RankingRequest, kw_only=True):
    """A query and texts."""

    documents: Documents


class EitherRequest(RankingRequest, kw_only=True):
    """A query and `documents`; or `texts`, as text-embeddings-inference has them.

    Beside those: `raw_scores` are what the model gives, others are 0 to 1. With `return_text` each
    score has its text.
    """

    documents: Documents | None = None
    texts: Texts | None = None
    raw_scores: bool | None = None
    return_text: bool | None = None
    truncation_direction: Literal["right", "Right", "left", "Left"] | None = None


class RankedDocument(Reply, kw_only=True):
    """One of the texts."""

    text: str


class Ranked(Reply, kw_only=True):
    """How well a text answers the query: `index` is its place in the request."""

    index: int
    relevance_score: float
    document: RankedDocument | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET


class Score(Reply, kw_only=True):
    """How well one of `texts` answers the query: `index` is its place in the request."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class RerankUsage(Reply, kw_only=True):
    """Tokens that were read: those of the query count with each text."""

    prompt_tokens: int
    total_tokens: int


class ApiVersion(Reply, kw_only=True):
    """The version of Cohere's interface."""

    version: str


class BilledUnits(Reply, kw_only=True):
    """What Cohere counts: searches."""

    search_units: int = 1


class RerankMeta(Reply, kw_only=True):
    """What Cohere's clients look for."""

    api_version: ApiVersion
    billed_units: BilledUnits


class RerankReply(Reply, kw_only=True):
    """The texts, the best first."""

    id: str
    object: str = "list"
    model: str
    results: list[Ranked]
    usage: RerankUsage
    meta: RerankMeta


class CohereError(Reply, kw_only=True):
    """The body of an error."""

    message: str


class Cohere:
    """Cohere's shape of errors."""

    name = "cohere"
    error_type: type[Reply] = CohereError

    def error(self, error: ApiError) -> Reply:
        """The body of an error."""
        return CohereError(message=error.message)

    def event_error(self, error: ApiError) -> bytes:
        """An error in the middle of a stream, which ends with it."""
        return sse(self.error(error))


async def rerank(ask: Ask[RerankRequest]) -> RerankReply:
    """Order texts; a document is sent back unless it is asked not to be, as vLLM does."""
    return await _rerank(ask, "1", documents=ask.body.return_documents is not False)


async def rerank_either(ask: Ask[EitherRequest]) -> RerankReply | list[Score]:
    """Order documents as `rerank` does, or texts as text-embeddings-inference does."""
    body = ask.body
    if (body.documents is None) == (body.texts is None):
        raise invalid("expected these, or texts as text-embeddings-inference has them", "documents")
    if body.texts is None:
        return await _rerank(ask, "1", documents=body.return_documents is not False)
    if (body.truncation_direction or "right").lower() == "left":
        raise invalid("the beginning of a text is read, not its end", "truncation_direction")
    ranked, _ = await _ranked(ask, body.texts, "texts", normalize=not body.raw_scores)
    return [
        Score(index=each.index, score=each.score, text=each.text if body.return_text else UNSET)
        for each in ranked[: body.top_n]
    ]


async def rerank_v2(ask: Ask[RerankRequest]) -> RerankReply:
    """Order texts; documents are sent back only where they are asked for, as Cohere does."""
    return await _rerank(ask, "2", documents=bool(ask.body.return_documents))


async def _rerank(
    ask: Ask[RerankRequest] | Ask[EitherRequest], version: str, *, documents: bool
) -> RerankReply:
    texts = [each if isinstance(each, str) else each.text for each in ask.body.documents or ()]
    ranked, model = await _ranked(ask, texts, "documents")
    read = sum(each.tokens for each in ranked)
    return RerankReply(
        id=f"rerank-{token_hex(12)}",
        model=model,
        results=[_result(each, documents) for each in ranked[: ask.body.top_n]],
        usage=RerankUsage(prompt_tokens=read, total_tokens=read),
        meta=RerankMeta(api_version=ApiVersion(version=version), billed_units=BilledUnits()),
    )


async def _ranked(
    ask: Ask[RerankRequest] | Ask[EitherRequest],
    texts: list[str],
    name: str,
    normalize: bool | None = None,
) -> tuple[list[RankedText], str]:
    """All texts, the best first, and the model's name; `name` is that of their field."""
    body = ask.body
    _check(body)
    async with ask.service.use(body.model, "rerank") as model:
        with renaming({"texts": name}):
            ranked = await model.arerank(
                body.query,
                texts,
                truncate=bool(body.truncate),
                normalize=normalize,
                progress=False,
            )
        return ranked, model.name


def _check(body: RankingRequest) -> None:
    if body.rank_fields not in (None, ["text"]):
        raise invalid('expected ["text"]: of a document its text is read', "rank_fields")
    for name in ("max_chunks_per_doc", "max_tokens_per_doc"):
        if getattr(body, name) is not None:
            raise invalid(
                'not supported; with "truncate": true the beginning of a text is read, '
                "as much as the model takes",
                name,
            )


def _result(ranked: RankedText, document: bool) -> Ranked:
    return Ranked(
        index=ranked.index,
        relevance_score=ranked.score,
        document=RankedDocument(text=ranked.text) if document else UNSET,
        truncated=ranked.truncated or UNSET,
    )


def _endpoint(
    path: str, handle: Any, dialect: Any, body: Any = RerankRequest, reply: Any = RerankReply
) -> Endpoint:
    return Endpoint(
        "POST",
        path,
        handle,
        dialect,
        "Order texts by how well they answer a query.",
        body=body,
        reply=reply,
        errors=(404, 413, 503),
        tag="rerank",
    )


ENDPOINTS = [
    _endpoint("/v1/rerank", rerank, DIALECT),
    _endpoint("/v2/rerank", rerank_v2, Cohere()),
    _endpoint("/rerank", rerank_either, DIALECT, EitherRequest, RerankReply | list[Score]),
]
