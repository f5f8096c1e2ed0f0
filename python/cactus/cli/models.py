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

FOR_IMAGES: dict[Ability, str] = {
    "see": "lfm2-vl-450m",
    "embed_image": "siglip2-base-patch16-224",
}
"""Of several models on a machine this one is taken."""


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


def find_seeing(name: str | None, *, offline: bool) -> Path:
    """The folder of a model that looks at images: the one that is named, else one that is here.

    Where there is none, the usual one is fetched.
    """
    return _find_usual(name, "see", offline)


def find_image_embedder(name: str | None, *, offline: bool) -> Path:
    """The folder of a model that makes vectors of images, as `find_seeing`; dual encoders first."""
    return _find_usual(name, "embed_image", offline)


def _find_usual(name: str | None, ability: Ability, offline: bool) -> Path:
    from cactus.weights import locate

    usual = FOR_IMAGES[ability]
    if name is None:
        here = locate.installed(ability)
        chatting = locate.installed("chat") if ability == "embed_image" else []
        if here:
            return min(here, key=lambda folder: (folder.name != usual, folder in chatting))
    return find_or_fetch(name or usual, offline=offline, ability=ability)


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
