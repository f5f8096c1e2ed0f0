"""Finding the model a command names, fetching it where that is what the user wants."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cactus.cli.progress import show_progress
from cactus.errors import ModelNotFound
from cactus.weights import catalog, locate
from cactus.weights.abilities import check_ability
from cactus.weights.catalog import Ability


def find_or_fetch(
    name_or_path: str, *, offline: bool = False, ability: Ability | None = None
) -> Path:
    """The weights folder of a model; one that is known but not here is downloaded.

    A model that lacks the `ability` is refused before its weights are fetched. Raises
    `ModelNotFound`, `UnsupportedModel`, or what the download and the conversion raise.
    """
    try:
        with show_progress() as progress:
            folder = locate.resolve(name_or_path, progress)
        check_ability(folder.name, str(locate.read_config(folder).get("model_type")), ability)
        return folder
    except ModelNotFound:
        hub_id, file = catalog.split_file(name_or_path)
        if catalog.find(hub_id) is None and not catalog.is_hub_id(hub_id):
            raise
        if locate.is_path(name_or_path) or (file is None and locate.name_clash(hub_id) is not None):
            raise
    return fetch(name_or_path, offline=offline, ability=ability)


def fetch(name_or_id: str, **options: Any) -> Path:
    """Downloads a model with a progress bar; `options` go to `download_model`, which see."""
    from cactus.weights.download import download_model

    try:
        with show_progress() as progress:
            return download_model(name_or_id, progress=progress, **options)
    except KeyboardInterrupt:
        print("Stopped; the same command continues from here.", file=sys.stderr)
        raise
