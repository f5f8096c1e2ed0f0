"""The models of a server: one load at a time, within a budget of memory, the least used gone first.

A model that somebody uses stays where it is.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cactus.engine.fit import Fit, fit
from cactus.errors import InsufficientMemory
from cactus.model import Model
from cactus.server.errors import ApiError
from cactus.server.meter import Meter
from cactus.types import Completion

CONVERSATIONS = 64
"""A cache is never larger than what so many conversations of full length take."""
LEAST_TOKENS = 4096
"""For so many there is room in a cache, where the context has as many."""
IMAGES = 256 << 20
"""Bytes of features of images that a model keeps, if a sixteenth of the budget is not less."""
PATIENCE = 5.0
"""Seconds that a model waits for room before nobody else begins with another one."""
LOOKS = 1.0
"""Seconds between two looks at who is idle."""


class ServedModel(Model):
    """A model whose answers are counted."""

    meter: Meter | None = None

    async def achat(self, *arguments: Any, **options: Any) -> Completion:
        """As `Model.achat`."""
        done = await super().achat(*arguments, **options)
        self._count(done)
        return done

    async def acomplete(self, *arguments: Any, **options: Any) -> Completion:
        """As `Model.acomplete`."""
        done = await super().acomplete(*arguments, **options)
        self._count(done)
        return done

    def astream(self, *arguments: Any, **options: Any) -> Any:
        """As `Model.astream`."""
        stream = super().astream(*arguments, **options)
        stream.when_ended(self._count)
        return stream

    def acomplete_stream(self, *arguments: Any, **options: Any) -> Any:
        """As `Model.acomplete_stream`."""
        stream = super().acomplete_stream(*arguments, **options)
        stream.when_ended(self._count)
        return stream

    def _count(self, done: Completion) -> None:
        if self.meter is not None:
            self.meter.completion(self.name, done)

    @property
    def kv_bytes(self) -> int:
        """Memory that its keys and values take now."""
        return 0 if self.closed else self._engine.program.kv_bytes

    @property
    def remembers(self) -> int:
        """Memory up to which conversations that have ended are remembered."""
        return self._engine.cache_bytes


@dataclass(eq=False)
class Served:
    """One model that the server knows by a name. `users` are the requests that use it now.

    `bytes` is what is reserved for it in the budget. `model_bytes` of these are for `model`; the
    rest is for an earlier one of this name, until that is closed. `keep` is how long it stays
    when nobody uses it; None: as the server was told. `options` are those of `Model`, known once
    `fit` is.
    """

    name: str
    folder: Path
    abilities: tuple[str, ...]
    model: ServedModel | None = None
    users: int = 0
    bytes: int = 0
    model_bytes: int = 0
    keep: float | None = None
    used: float = field(default_factory=time.monotonic)
    loading: asyncio.Task[None] | None = None
    fit: Fit | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Models:
    """Loads and unloads within `budget` bytes; None: as much as each asks for."""

    def __init__(
        self,
        budget: int | None,
        cache: int | None,
        keep: float | None,
        meter: Meter,
        options: Mapping[str, Any],
    ) -> None:
        self.budget = budget
        self._cache, self._keep, self._meter, self._options = cache, keep, meter, dict(options)
        self._all: list[Served] = []
        self._first: Served | None = None
        self.late: Served | None = None
        """A model that has waited for room for long: no other one is begun with before it."""
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes of the budget that loaded models may take."""
        return sum(one.bytes for one in self._all)

    @property
    def loaded(self) -> list[ServedModel]:
        """The models in memory."""
        return [one.model for one in self._all if one.model is not None]

    def know(self, served: Served) -> None:
        """Add a model; it is loaded when somebody asks for it."""
        self._all.append(served)
        self._first = self._first or served

    async def turn(self, served: Served) -> None:
        """Wait while another model has waited for long: those who come would keep it waiting."""
        while self.late is not None and self.late is not served:
            await self._news()

    async def get(self, served: Served, beside: Served | None = None) -> ServedModel:
        """The loaded model. `served.users` counts the caller already, so that it stays.

        `beside` is one that the caller uses, too. Raises InsufficientMemory where there can never
        be room for both: the caller would wait for itself.
        """
        while served.model is None:
            if beside is not None:
                await self._check_beside(served, beside)
            if served.loading is None or served.loading.done():
                served.loading = asyncio.get_running_loop().create_task(self._load(served))
                served.loading.add_done_callback(_looked_at)
            # Whoever leaves does not end what others wait for.
            await asyncio.shield(served.loading)
        return served.model

    def let_go(self, served: Served) -> None:
        """A request does not use it any more."""
        served.used = time.monotonic()
        self._freed.set()

    async def unload(self, served: Served) -> bool:
        """Free it now, or as soon as nobody uses it: false then."""
        if served.users or (served.loading is not None and not served.loading.done()):
            served.keep = 0.0
            return False
        await self._free(served)
        return True

    async def watch(self) -> None:
        """Unload those that were idle for as long as they are kept."""
        while True:
            await asyncio.sleep(LOOKS)
            await self.look()

    async def look(self) -> None:
        """Do once what `watch` does."""
        for served in self._all:
            keep, idle = self.keep_of(served), time.monotonic() - served.used
            if served.model is not None and not served.users and keep is not None and idle >= keep:
                await self._free(served)

    def keep_of(self, served: Served) -> float | None:
        """Seconds that it stays when nobody uses it; None: as long as there is room."""
        keep = self._keep if served.keep is None else served.keep
        return None if keep is None or math.isinf(keep) else keep

    async def close(self) -> None:
        """Free all, whoever uses them."""
        for served in self._all:
            if served.loading is not None:
                with suppress(Exception):
                    await served.loading
            await self._free(served)

    def forget(self, served: Served) -> None:
        """Know it no longer, so that it can be unloaded. Raises ApiError while it is used."""
        if served.users or (served.loading is not None and not served.loading.done()):
            raise ApiError(
                409, f"{served.name} is used by {served.users} requests", code="model_in_use"
            )
        self._all.remove(served)

    async def _free(self, served: Served) -> None:
        model, served.model = served.model, None
        if model is None:
            return
        # While it closes, somebody may have it loaded again: both count until this one is gone.
        freed, served.keep = served.model_bytes, None
        await asyncio.to_thread(model.close)
        served.bytes -= freed
        self._freed.set()

    async def _load(self, served: Served) -> None:
        began = time.monotonic()
        try:
            while not await self._load_now(served):
                if self.late is None and time.monotonic() - began >= PATIENCE:
                    self.late = served
                await self._news()
                if not served.users:
                    raise ApiError(503, "nobody waits for this model any more", code="cancelled")
        finally:
            if self.late is served:
                self.late = None
                self._freed.set()

    async def _load_now(self, served: Served) -> bool:
        """Load it, where there is room or can be made; others may load while it waits for some."""
        async with self._turn:
            if served.model is not None:
                return True
            if served.fit is None:
                await asyncio.to_thread(self._estimate, served)
            options, need = self._plan(served)
            if not await self._make_room(need):
                return False
            served.bytes += need
            try:
                model = await asyncio.to_thread(lambda: ServedModel(served.folder, **options))
            except BaseException:
                served.bytes -= need
                raise
            model.meter = self._meter
            served.model, served.model_bytes, served.used = model, need, time.monotonic()
        return True

    def _estimate(self, served: Served) -> None:
        """Find the options that are for this model, and what it takes with them."""
        options = dict(self._options)
        if "context" in options and served is not self._first:
            # It bounds those that have more; the first has to have as much as is asked for.
            own = fit(served.folder).context_length
            if "transcribe" in served.abilities or own <= options["context"]:
                del options["context"]
        served.options, served.fit = options, fit(served.folder, **options)

    def _plan(self, served: Served) -> tuple[dict[str, Any], int]:
        """The options of `Model`, and bytes for it. Raises InsufficientMemory."""
        fit = served.fit
        assert fit is not None
        options, need = dict(served.options), fit.weights + fit.working
        if "see" in served.abilities:
            images = IMAGES if self.budget is None else min(IMAGES, self.budget // 16)
            options["image_cache_bytes"] = images
            need += images
        if fit.position_bytes == 0:
            self._check(served, need)
            return options, need
        one = fit.position_bytes * min(fit.context_length, LEAST_TOKENS)
        most = CONVERSATIONS * fit.position_bytes * fit.context_length
        if self._cache is not None:
            most = self._cache
        elif self.budget is not None:
            most = min(most, max(self.budget // 4, one))
        if self.budget is not None:
            # Less is remembered where weights leave less, but not less than LEAST_TOKENS.
            most = min(most, max(self.budget - need, one))
        options["cache_bytes"] = most
        self._check(served, need + most)
        return options, need + most

    def _check(self, served: Served, need: int) -> None:
        if self.budget is not None and need > self.budget:
            raise InsufficientMemory(
                f"{served.name} takes about {need >> 20} MiB, and this server "
                f"may use {self.budget >> 20} MiB; give it more with --memory, take a smaller "
                "model, or a shorter --context"
            )

    async def _check_beside(self, served: Served, beside: Served) -> None:
        if served.fit is None:
            await asyncio.to_thread(self._estimate, served)
        _, need = self._plan(served)
        if self.budget is not None and beside.bytes + need > self.budget:
            raise InsufficientMemory(
                f"{served.name} takes about {need >> 20} MiB beside the {beside.bytes >> 20} MiB "
                f"of {beside.name}, which this request uses, too, and this server may use "
                f"{self.budget >> 20} MiB; give it more with --memory, or less to --cache"
            )

    async def _make_room(self, need: int) -> bool:
        """Unload what was not used for longest until `need` fits; false if that is not enough."""
        while self.budget is not None and self.used + need > self.budget:
            idle = [one for one in self._all if one.model is not None and not one.users]
            if self.used - sum(one.model_bytes for one in idle) + need > self.budget:
                return False
            await self._free(min(idle, key=lambda one: one.used))
        return True

    async def _news(self) -> None:
        """Wait until a model is used less, or for a moment."""
        self._freed.clear()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._freed.wait(), LOOKS)


def _looked_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # everybody who waited for it may have left
