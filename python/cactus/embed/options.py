"""What vectors and scores of texts may be asked for."""

from __future__ import annotations

from typing import TypedDict


class EmbedOptions(TypedDict, total=False):
    """The options of ``Model.embed``."""

    batch_size: int | None
    prompt: str | None
    dimensions: int | None
    normalize: bool | None
    truncate: bool


class RankOptions(TypedDict, total=False):
    """The options of ``Model.rerank``."""

    batch_size: int | None
    truncate: bool
    normalize: bool | None
    top_k: int | None
