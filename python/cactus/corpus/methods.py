"""The methods of `Model` that have to do with documents."""

from __future__ import annotations

import os
from typing import Any

from cactus.calls.aio import run_alone
from cactus.corpus.corpus import Corpus
from cactus.embed.methods import EmbedMethods
from cactus.errors import InvalidRequest
from cactus.generate.methods import ChatMethods


class CorpusMethods(ChatMethods, EmbedMethods):
    """The methods of a model that answers from documents."""

    _corpus: Corpus | None = None

    @property
    def corpus(self) -> Corpus | None:
        """The documents that this model answers from; None where it has none."""
        return self._corpus

    def rag_query(self, query: str, top_k: int = 5) -> list[dict[str, Any]]:
        """The chunks of the corpus that fit `query` best, the best first.

        Each has at least `score` (0 to 1), `text` (also as `content`), `source`, `start`, `end` and
        `heading`. What is not similar enough is left out. A conversation is left as it is. Raises
        InvalidRequest where the model has no corpus.
        """
        self._turns.check()
        if self._corpus is None:
            raise InvalidRequest(
                f"{self._engine.name} has no documents: load it with corpus=DIR (corpus_dir=DIR "
                "of cactus_init and CactusModel)"
            )
        return [hit.as_dict() for hit in self._corpus.search(query, top_k)]

    async def arag_query(self, query: str, top_k: int = 5) -> list[dict[str, Any]]:
        """`rag_query` in a thread of its own."""
        return await run_alone(lambda _: self.rag_query(query, top_k))

    def _set_corpus(self, corpus: str | os.PathLike[str] | Corpus | None) -> None:
        """Answer from documents. A folder's corpus is closed with the model; an open one is not."""
        if corpus is None:
            return
        try:
            alone = "chat" not in self._engine.abilities
            if alone:
                self._engine.require("embed")
            if not isinstance(corpus, Corpus):
                corpus = Corpus(corpus, embedder=self if alone else None, fallback=self)
                self._owned.callback(corpus.close)
            self._corpus = corpus
            self.documents = corpus.reader()
        except BaseException:
            self.close()
            raise
