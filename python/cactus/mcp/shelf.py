"""The models that tools use: chosen by what they can do, loaded when they are first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cactus.errors import ModelNotFound
from cactus.model import Model
from cactus.weights import locate
from cactus.weights.abilities import Ability
from cactus.weights.catalog import STARTER
from cactus.weights.embedders import find_embedder, find_reranker
from cactus.weights.resolve import resolve

USUAL: dict[Ability, str] = {
    "chat": STARTER.name,
    "see": "lfm2-vl-450m",
    "transcribe": "whisper-base",
}
"""Of several models on a machine this one is taken."""


class Shelf:
    """The models that are named, or without names those on this machine. Nothing is fetched.

    Raises ModelNotFound for a name that is not there.
    """

    def __init__(self, names: Sequence[str] = (), threads: int | None = None) -> None:
        self._named = [resolve(name) for name in names]
        self._threads = threads
        self._loaded: dict[Path, Model] = {}
        self._lock = asyncio.Lock()

    def find(self, ability: Ability) -> Path | None:
        """The folder of the model for this; None where there is none."""
        if self._named:
            able = (each for each in self._named if ability in _abilities(each))
            return next(able, None)
        if ability == "embed":
            return find_embedder()
        if ability == "rerank":
            return find_reranker()
        usual = USUAL.get(ability)
        return min(locate.installed(ability), key=lambda f: f.name != usual, default=None)

    async def model(self, ability: Ability) -> Model:
        """The model for this, loaded. Raises ModelNotFound and what loading raises."""
        folder = self.find(ability)
        if folder is None:  # it was there when the tools were listed
            raise ModelNotFound(f"no model on this machine can {ability} any more")
        async with self._lock:
            if folder not in self._loaded:
                self._loaded[folder] = await asyncio.to_thread(Model, folder, threads=self._threads)
            return self._loaded[folder]

    async def close(self) -> None:
        """Free all models."""
        for model in self._loaded.values():
            await asyncio.to_thread(model.close)
        self._loaded.clear()


def _abilities(folder: Path) -> Sequence[Ability]:
    entry = locate.entry(folder)
    return () if entry is None else entry.abilities
