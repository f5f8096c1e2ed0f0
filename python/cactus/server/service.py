"""What all requests share: the settings, the models in memory, what was counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cactus.errors import ModelNotFound
from cactus.model import Model
from cactus.server.errors import ApiError
from cactus.server.settings import Settings
from cactus.weights import locate


@dataclass
class Served:
    """One model that the server knows by a name."""

    name: str
    folder: Path
    abilities: tuple[str, ...]
    model: Model | None = None
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Service:
    """The models that are served: loaded when they are first asked for."""

    def __init__(self, settings: Settings, options: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self._options = dict(options or {})
        self._served: dict[str, Served] = {}
        for folder in settings.models:
            entry = locate.entry(folder)
            if entry is None:
                raise ModelNotFound(f'"{folder}" is not a weights folder')
            name = locate.name_of(folder)
            self._served[name] = Served(name, folder, tuple(entry.abilities))

    @property
    def served(self) -> list[Served]:
        """All models, the default first."""
        return list(self._served.values())

    def find(self, name: str | None, ability: str) -> Served:
        """The model of that name; without one the first that has the ability. Raises ApiError."""
        if not name:
            found = next((one for one in self.served if ability in one.abilities), None)
            if found is None:
                raise ApiError(
                    404, f"no model that is served can {ability}", code="model_not_found"
                )
            return found
        found = self._served.get(name)
        if found is None:
            known = ", ".join(self._served)
            raise ApiError(
                404,
                f"model {name!r:.100} is not served; there are: {known}",
                code="model_not_found",
                param="model",
            )
        if ability not in found.abilities:
            raise ApiError(
                400,
                f"model {name!r} cannot {ability}; it can: {', '.join(found.abilities)}",
                code="unsupported_model",
                param="model",
            )
        return found

    @asynccontextmanager
    async def use(self, name: str | None, ability: str) -> AsyncIterator[Model]:
        """The loaded model; it stays loaded for as long as it is used."""
        served = self.find(name, ability)
        served.users += 1
        try:
            async with served.lock:
                if served.model is None:
                    served.model = await asyncio.to_thread(Model, served.folder, **self._options)
            yield served.model
        finally:
            served.users -= 1

    async def close(self) -> None:
        """Free all models."""
        for served in self.served:
            if served.model is not None:
                await asyncio.to_thread(served.model.close)
                served.model = None


def folders(names: tuple[str, ...]) -> tuple[Path, ...]:
    """The weights folders that names stand for; without names, all on this machine."""
    from cactus.weights.resolve import resolve

    if names:
        return tuple(resolve(name) for name in names)
    found = tuple(entry.folder for entry in locate.entries() if entry.fault is None)
    if not found:
        raise ModelNotFound("there is no model yet; fetch one with: cactus download")
    return found
