"""``/cactus/documents/{passage_id}``: the passage that a citation leads to, with what is around."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cactus.passages import place
from cactus.server.endpoint import Ask, Endpoint, Reply
from cactus.server.errors import ApiError
from cactus.server.openai.errors import DIALECT
from cactus.server.passages import passage_of

if TYPE_CHECKING:
    from cactus.corpus.corpus import Corpus

AROUND = 1000
"""Characters that are shown before a passage, and behind it."""
MOST_TOKENS = 1 << 40


class PassageText(Reply, kw_only=True):
    """A passage, and where it stands."""

    source: str
    place: str
    text: str
    before: str
    after: str


async def passage(ask: Ask[None]) -> PassageText:
    """A passage of the documents."""
    corpus = ask.service.documents
    if corpus is None:
        raise _unknown("no documents are served; they are with: cactus serve --docs DIR")
    source, start, end = passage_of(ask.request.path_params["passage_id"])
    return await asyncio.to_thread(lambda: _find(corpus, source, start, end))


def _find(corpus: Corpus, source: str, start: int, end: int) -> PassageText:
    """From the index, never from the disk: an id cannot name a file that was not read."""
    chunks = corpus.document(source, MOST_TOKENS)
    if not chunks or not 0 <= start < end:
        raise _unknown()
    text, at = "", chunks[0].start
    for chunk in chunks:  # chunks may overlap, and leave out what is not text
        begins = at + len(text)
        text += " " * (chunk.start - begins) + chunk.text[max(0, begins - chunk.start) :]
    inside = [each for each in chunks if each.start < end and each.end > start]
    if not inside:
        raise _unknown()
    first, left, right = inside[0], max(0, start - at), end - at
    return PassageText(
        source=source,
        place=place(source, first.line, first.page, first.time and first.time[0]),
        text=text[left:right],
        before=text[max(0, left - AROUND) : left],
        after=text[right : right + AROUND],
    )


def _unknown(message: str = "there is no such passage") -> ApiError:
    return ApiError(404, message, code="not_found", param="passage_id")


ENDPOINTS = [
    Endpoint(
        "GET",
        "/cactus/documents/{passage_id}",
        passage,
        DIALECT,
        "The passage of the documents that a citation leads to.",
        reply=PassageText,
        errors=(404,),
    ),
]
