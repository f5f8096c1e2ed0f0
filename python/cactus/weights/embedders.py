"""Which model makes vectors of texts where a user names none."""

from __future__ import annotations

import os
from pathlib import Path

from cactus.errors import ModelNotFound
from cactus.progress import Progress
from cactus.weights import locate
from cactus.weights.resolve import resolve

FIRST = "all-minilm-l6-v2"
"""Of several embedders on a machine this one is taken."""


def find_embedder(
    wanted: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> Path | None:
    """The weights folder of an embedder: the one that is named, else one on this machine.

    In this order: `wanted`, ``CACTUS_EMBEDDER``, all-minilm-l6-v2, the first other model on this
    machine that is made for vectors; None where there is none. Raises ModelNotFound for a name that
    is not there.
    """
    named = wanted or os.environ.get("CACTUS_EMBEDDER")
    if named:
        return resolve(named, progress, "embed")
    found = [
        entry.folder
        for entry in locate.entries()
        if entry.fault is None and "embed" in entry.abilities and "complete" not in entry.abilities
    ]
    return min(found, key=lambda folder: folder.name != FIRST, default=None)


def no_embedder() -> ModelNotFound:
    """The error where an embedder is needed and there is none."""
    return ModelNotFound(
        f"no embedder is on this machine: cactus download {FIRST} fetches one; or name a model, "
        "as an argument or in CACTUS_EMBEDDER (any language model makes vectors, too)"
    )
