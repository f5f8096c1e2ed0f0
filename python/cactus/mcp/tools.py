"""The tools: each is there where a model for it is, and says in plain words what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cactus.errors import InvalidRequest
from cactus.mcp.roots import Roots
from cactus.mcp.shelf import Shelf
from cactus.passages import place
from cactus.weights.abilities import Ability

if TYPE_CHECKING:
    from cactus.corpus.corpus import Corpus
    from cactus.retrieval.types import Hit

MAX_TEXTS = 256
"""Texts of a call."""

Path_ = Annotated[str, Field(description="The file, absolute or relative to a folder served.")]
Count = Annotated[int, Field(ge=1, le=50)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]
Tokens = Annotated[int, Field(ge=1, le=8192)]


@dataclass
class Found:
    """A passage of a document."""

    place: str
    heading: str
    text: str
    score: float


@dataclass
class Source:
    """A sentence of an answer, and what of the documents supports it."""

    sentence: str
    place: str
    quotation: str


@dataclass
class Answer:
    """An answer from documents; `found`: something in them fits the question."""

    text: str
    found: bool
    sources: list[Source]


@dataclass
class Vectors:
    """Vectors of texts, in their order."""

    model: str
    dimensions: int
    vectors: list[list[float]]


@dataclass
class Ranked:
    """A text, by its number in the list that was given, and how well it answers."""

    index: int
    score: float
    text: str


class Tools:
    """What is served: functions whose names, types and docstrings clients are told."""

    def __init__(self, shelf: Shelf, roots: Roots, docs: Path | None = None) -> None:
        self._shelf, self._roots, self._docs = shelf, roots, docs
        self._corpus: Corpus | None = None
        self._opening = asyncio.Lock()

    @property
    def functions(self) -> list[Callable[..., Awaitable[Any]]]:
        """Those for which there is a model."""
        has = {ability for ability in _NEEDED if self._shelf.find(ability) is not None}
        found: list[Callable[..., Awaitable[Any]]] = []
        if "transcribe" in has:
            found.append(self.transcribe)
        if "see" in has:
            found.append(self.describe_image)
        if self._docs is not None and has & {"embed", "chat"}:
            found.append(self.search_documents)
            if "chat" in has:
                found.append(self.ask_documents)
        if "embed" in has:
            found.append(self.embed)
        if "rerank" in has:
            found.append(self.rerank)
        return found

    async def transcribe(
        self, path: Path_, language: str | None = None, timestamps: bool = False
    ) -> str:
        """Write down what is said in a recording: any usual audio or video file, of any length.

        `language` is a code such as "en"; without it, it is detected. With `timestamps` each line
        begins with the seconds at which it is said.
        """
        file = self._roots.file(path)
        model = await self._shelf.model("transcribe")
        done = await model.atranscribe(file, language=language)
        if not timestamps:
            return done.text
        return "\n".join(f"[{each.start:.2f}] {each.text.strip()}" for each in done.segments)

    async def describe_image(
        self, path: Path_, question: str = "Describe this image.", max_tokens: Tokens = 512
    ) -> str:
        """Look at an image file and answer a question about it."""
        file = self._roots.file(path)
        model = await self._shelf.model("see")
        shown = [{"type": "image", "path": str(file)}, {"type": "text", "text": question}]
        asked = [{"role": "user", "content": shown}]
        return (await model.achat(asked, max_tokens=max_tokens, stop_loops=True)).text

    async def search_documents(self, query: str, limit: Count = 5) -> list[Found]:
        """Search the folder of documents; the passages that fit best, the best first.

        Nothing comes where no passage is similar enough to the query.
        """
        corpus = await self._documents()
        return [
            Found(_place(hit), hit.heading, hit.text, hit.score)
            for hit in await corpus.asearch(query, limit)
        ]

    async def ask_documents(self, question: str, max_tokens: Tokens = 512) -> Answer:
        """Answer a question from the folder of documents, with the passages that say so."""
        corpus = await self._documents()
        model = await self._shelf.model("chat")
        done = await corpus.aask(model, question, max_tokens=max_tokens, stop_loops=True)
        return Answer(
            done.text,
            done.reading is not None and done.reading.found,
            [
                Source(done.text[each.answer_start : each.answer_end], each.place, each.text)
                for each in done.citations
            ],
        )

    async def embed(self, texts: Texts, query: bool = False) -> Vectors:
        """Make vectors of texts, by which those that mean the same are near each other.

        `query`: they are what is looked for, not what is looked through.
        """
        model = await self._shelf.model("embed")
        kind = "query" if query else "document"
        found = await model.aembed(texts, prompt=kind, normalize=True, progress=False)
        return Vectors(model.name, found.shape[1], found.tolist())

    async def rerank(self, query: str, texts: Texts, limit: Count | None = None) -> list[Ranked]:
        """Put texts into the order in which they answer a query, the best first."""
        model = await self._shelf.model("rerank")
        ranked = await model.arerank(query, texts, top_k=limit, truncate=True, progress=False)
        return [Ranked(each.index, each.score, each.text) for each in ranked]

    async def close(self) -> None:
        """Close the index of the documents and free the models."""
        corpus, self._corpus = self._corpus, None
        if corpus is not None:
            await asyncio.to_thread(corpus.close)
        await self._shelf.close()

    async def _documents(self) -> Corpus:
        """The documents as they are now: what is new or has changed is read first."""
        if self._docs is None:
            raise InvalidRequest("no folder of documents is served")
        async with self._opening:
            if self._corpus is not None:
                await self._corpus.async_sync(progress=False)
                return self._corpus
            from cactus.corpus.corpus import Corpus

            embedder = self._shelf.find("embed")
            fallback = None if embedder is not None else await self._shelf.model("chat")
            self._corpus = await asyncio.to_thread(
                Corpus, self._docs, embedder=embedder, fallback=fallback, progress=False
            )
            return self._corpus


def _place(hit: Hit) -> str:
    """Where a passage stands, to be read."""
    return place(hit.source, hit.line, hit.page, hit.time[0] if hit.time else None)


_NEEDED: tuple[Ability, ...] = ("transcribe", "see", "embed", "chat", "rerank")
