"""The methods of `Model` that make vectors and scores of texts: the public form of `TextWork`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cactus import embed as arrays
from cactus.calls.aio import in_loop, run_alone
from cactus.calls.turns import Call
from cactus.compat import Unpack
from cactus.embed.options import EmbedOptions, RankOptions
from cactus.engine.base import ModelBase
from cactus.progress import Progress, chosen_progress
from cactus.types import RankedText

if TYPE_CHECKING:
    from cactus.embed.work import TextWork

Texts = str | Sequence[int] | Iterable[str | Sequence[int]]
"""A text, or several; each as a string or as token ids."""


class EmbedMethods(ModelBase):
    """The methods of a model whose states are vectors of texts."""

    def embed(
        self,
        texts: Texts,
        *,
        progress: Progress | bool | None = None,
        **options: Unpack[EmbedOptions],
    ) -> arrays.Embeddings:
        """The vectors of texts, float32: [dimensions] of one, [texts, dimensions] of several.

        `texts`: a string, or a list or iterator of strings, in whose order the vectors are; a text
        may be a list of token ids instead, which is read as it stands. `batch_size` is the most
        texts that share a step; default as many as fill one. `prompt`: what the text is for,
        "query" or "document", or another name of the checkpoint's prompts; None its default one,
        "" none. `dimensions` cuts the vectors, where the checkpoint was trained for that.
        `normalize`: whether vectors have length 1; None as the checkpoint has it. A text over the
        limit (`embedding_max_tokens`) is an error unless `truncate` is True; ``.truncated`` of the
        result says which were cut, ``.tokens`` how many tokens were read. `progress`: a function
        that gets a label, how many texts are done and how many there are; True and False show
        progress always and never, None on a terminal if it takes longer than a second.

        Raises InvalidRequest naming the option or text, ContextLengthExceeded, UnsupportedModel
        for a model without vectors, Cancelled after `stop`, ReentrantCall, ModelClosed.
        """
        return self._embed(texts, options, progress, Call())

    async def aembed(
        self,
        texts: Texts,
        *,
        progress: Progress | bool | None = None,
        **options: Unpack[EmbedOptions],
    ) -> arrays.Embeddings:
        """`embed` in a thread of its own; cancelling the task stops it."""
        shown = in_loop(progress)
        return await run_alone(lambda call: self._embed(texts, options, shown, call))

    def rerank(
        self,
        query: str,
        texts: Iterable[str],
        *,
        progress: Progress | bool | None = None,
        **options: Unpack[RankOptions],
    ) -> list[RankedText]:
        """The texts in the order in which they answer the query, the best first, with scores.

        The model reads the query and each text together. Scores are 0 to 1 where it ends in a
        sigmoid; with `normalize` True they always do, with False they are what comes before it.
        `top_k`: how many of them are returned. A text that does not fit beside the query
        is an error unless `truncate` is True. Other options and errors are those of `embed`.
        """
        return self._rerank(query, texts, options, progress, Call())

    async def arerank(
        self,
        query: str,
        texts: Iterable[str],
        *,
        progress: Progress | bool | None = None,
        **options: Unpack[RankOptions],
    ) -> list[RankedText]:
        """`rerank` in a thread of its own; cancelling the task stops it."""
        shown = in_loop(progress)
        return await run_alone(lambda call: self._rerank(query, texts, options, shown, call))

    @property
    def embedding_dimensions(self) -> int:
        """How many numbers a vector of `embed` has, if it is not cut."""
        return self._texts("embed").encoder.dimensions

    @property
    def embedding_max_tokens(self) -> int:
        """The most tokens of a text that `embed` reads, special ones and a prompt included."""
        return self._texts("embed").encoder.reader.limit

    def _embed(
        self, texts: Any, options: EmbedOptions, progress: Progress | bool | None, call: Call
    ) -> arrays.Embeddings:
        work = self._texts("embed")
        with chosen_progress(progress, "texts") as shown:
            return work.embedding(texts, options, shown, call).run()

    def _rerank(
        self,
        query: str,
        texts: Any,
        options: RankOptions,
        progress: Progress | bool | None,
        call: Call,
    ) -> list[RankedText]:
        work = self._texts("rerank")
        with chosen_progress(progress, "texts") as shown:
            return work.ranking(query, texts, options, shown, call).run()

    def _texts(self, ability: Literal["embed", "rerank"]) -> TextWork:
        from cactus.embed.work import TextWork

        return self._work(ability, TextWork)
