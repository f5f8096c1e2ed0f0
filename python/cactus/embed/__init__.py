"""Vectors and scores of texts: from texts to tokens, states, pooled vectors, heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cactus.embed.vectors import Embeddings as Embeddings


def __getattr__(name: str) -> Any:
    # The hints of methods name it, and importing those is not to import the library of arrays.
    if name == "Embeddings":
        from cactus.embed.vectors import Embeddings

        return Embeddings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
