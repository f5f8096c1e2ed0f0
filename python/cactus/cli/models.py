"""Finding the model a command names, fetching it where that is what the user wants."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.progress import Progress, show_progress
from cactus.weights.abilities import Ability

if TYPE_CHECKING:
    from cactus.weights.embedders import Use


def find_or_fetch(
    name_or_path: str, *, offline: bool = False, ability: Ability | None = None
) -> Path:
    """`find_or_download` with a progress bar."""
    from cactus.weights.download import find_or_download

    with _shown() as progress:
        return find_or_download(name_or_path, offline=offline, ability=ability, progress=progress)


def find_text_model(name: str | None, ability: Use, *, offline: bool) -> Path:
    """The folder of an embedder or reranker: the one that is named, else the usual one.

    It is fetched where it is not on this machine.
    """
    from cactus.weights.embedders import USUAL, find_embedder, find_reranker

    if name is None:
        found = find_embedder() if ability == "embed" else find_reranker()
        if found is not None:
            return found
    return find_or_fetch(name or USUAL[ability], offline=offline, ability=ability)


def fetch(name_or_id: str, **options: Any) -> Path:
    """`download_model`, which takes the `options`, with a progress bar."""
    from cactus.weights.download import download_model

    with _shown() as progress:
        return download_model(name_or_id, progress=progress, **options)


@contextmanager
def _shown() -> Iterator[Progress]:
    try:
        with show_progress() as progress:
            yield progress
    except KeyboardInterrupt:
        print("Stopped; the same command continues from here.", file=sys.stderr)
        raise
