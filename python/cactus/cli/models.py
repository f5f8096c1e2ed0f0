"""Finding the model a command names, fetching it where that is what the user wants."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cactus.progress import Progress, show_progress
from cactus.weights.abilities import Ability


def find_or_fetch(
    name_or_path: str, *, offline: bool = False, ability: Ability | None = None
) -> Path:
    """`find_or_download` with a progress bar."""
    from cactus.weights.download import find_or_download

    with _shown() as progress:
        return find_or_download(name_or_path, offline=offline, ability=ability, progress=progress)


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
