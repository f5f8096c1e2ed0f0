"""Finding the model a command names, fetching it where that is what the user wants."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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
        if locate.is_path(name_or_path) or locate.name_clash(name_or_path) is not None:
            raise
    from cactus.weights.hub import is_offline

    if not offline and not is_offline():
        print(f"{name_or_path} is not on this machine yet; fetching it once.", file=sys.stderr)
    return fetch(name_or_path, offline=offline)


def fetch(name_or_id: str, **options: Any) -> Path:
    """Downloads a model and writes down its hub id; `options` go to `download_model`.

    Raises `ModelNotFound` where another model has its folder, and what `download_model` raises.
    """
    from cactus.weights.download import download_model

    entry = catalog.find(name_or_id)
    hub_id = entry.hub_id if entry else name_or_id
    if catalog.is_hub_id(hub_id):
        clash = locate.name_clash(hub_id)
        if clash is not None:
            raise clash
    with show_progress() as progress:
        folder = download_model(name_or_id, progress=progress, **options)
    if locate.source_id(folder) is None:
        locate.record_source_id(folder, hub_id)
    return folder
