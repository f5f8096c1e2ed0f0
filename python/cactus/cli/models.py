"""Finding the model a command names, fetching it where that is what the user wants."""

from __future__ import annotations

import sys
from pathlib import Path

from cactus.cli.progress import show_progress
from cactus.errors import ModelNotFound
from cactus.weights import catalog, locate


def find_or_fetch(name_or_path: str, *, offline: bool = False) -> Path:
    """The weights folder of a model; one that is known but not here is downloaded.

    Raises `ModelNotFound`, or what the download and the conversion raise.
    """
    try:
        with show_progress() as progress:
            return locate.resolve(name_or_path, progress)
    except ModelNotFound:
        known = catalog.find(name_or_path)
        if known is None and not catalog.is_hub_id(name_or_path):
            raise
    from cactus.weights.download import download_model

    if not offline:
        print(f"{name_or_path} is not on this machine yet; fetching it once.", file=sys.stderr)
    with show_progress() as progress:
        return download_model(name_or_path, offline=offline, progress=progress)
