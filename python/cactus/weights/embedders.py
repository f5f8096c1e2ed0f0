"""Which model makes vectors of texts where a user names none."""

from __future__ import annotations

import os
from pathlib import Path

from cactus.errors import ModelNotFound
from cactus.models.uses import Use as Use
from cactus.progress import Progress
from cactus.weights import locate
from cactus.weights.resolve import resolve

USUAL: dict[Use, str] = {"embed": "all-minilm-l6-v2", "rerank": "ms-marco-minilm-l6-v2"}
"""Of several models on a machine this one is taken."""


def find_embedder(
    wanted: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> Path | None:
    """The weights folder of an embedder: the one that is named, else one on this machine.

    In this order: `wanted`, ``CACTUS_EMBEDDER``, all-minilm-l6-v2, the first other model on this
    machine that is made for vectors; None where there is none. Raises ModelNotFound for a name that
    is not there.
    """
    named = wanted or os.environ.get("CACTUS_EMBEDDER")
    return resolve(named, progress, "embed") if named else _made_for("embed")


def find_reranker() -> Path | None:
    """The weights folder of a model on this machine that ranks texts; None where there is none."""
    return _made_for("rerank")


def no_embedder() -> ModelNotFound:
    """The error where an embedder is needed and there is none."""
    return ModelNotFound(
        f"no embedder is on this machine: cactus download {USUAL['embed']} fetches one; or name "
        "a model: --embedder, in Python embedder=, or CACTUS_EMBEDDER (any language model makes "
        "vectors, too)"
    )


def _made_for(ability: Use) -> Path | None:
    """The usual model, else the first that can do this, and neither writes nor sees images."""
    found = [
        entry.folder
        for entry in locate.entries()
        if entry.fault is None
        and ability in entry.abilities
        and not {"complete", "embed_image"} & set(entry.abilities)
    ]
    return min(found, key=lambda folder: folder.name != USUAL[ability], default=None)
