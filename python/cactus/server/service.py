"""What all requests share: the settings, the models in memory, what was counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.calls.tenant import acting_for
from cactus.errors import InvalidRequest, ModelNotFound
from cactus.inputs.checks import short
from cactus.machine import available_bytes, memory_bytes
from cactus.model import Model
from cactus.server.admission import Admission
from cactus.server.current import CURRENT, Current
from cactus.server.errors import ApiError
from cactus.server.gauges import add_gauges
from cactus.server.large import Decoder
from cactus.server.meter import Meter
from cactus.server.models import Models, Served
from cactus.server.names import meant
from cactus.server.settings import Settings
from cactus.server.short_keys import ShortKeys
from cactus.weights import locate

if TYPE_CHECKING:
    from cactus.corpus.corpus import Corpus

SHARE = 0.75
"""Of the memory that is left when the server begins."""


class Service:
    """The models that are served: loaded when they are first asked for.

    `documents` are what chats may be answered from, `tools` are functions that models may call
    here, where a request asks for it.
    """

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any] | None = None,
        tools: Sequence[Callable[..., Any]] = (),
    ) -> None:
        self.settings = settings
        self.version = version("cactus")
        self.tools = tuple(tools)
        self.documents: Corpus | None = None
        self.table: Sequence[Any] = ()
        self.description: bytes | None = None
        """What answers here, and /openapi.json, made of it when it is first asked for."""
        self.meter = Meter()
        self.short_keys = ShortKeys()
        self.decoder = Decoder()
        self.draining = False
        self.closed = False
        """Whether it has ended: what still works in a thread is to end, too."""
        self.stopping = asyncio.Event()
        """Set where somebody has asked the server to end."""
        self._served: dict[str, Served] = {}
        budget = settings.memory
        if budget is None:
            left = available_bytes() or memory_bytes()
            budget = None if left is None else int(SHARE * left)
        self.models = Models(
            budget, settings.cache, settings.keep_seconds, self.meter, options or {}
        )
        self.admission = Admission(
            settings.max_running,
            settings.max_waiting,
            settings.max_waiting_tokens,
            lambda: self.meter.speed,
        )
        self._answering: set[Current] = set()
        self._sockets: set[Current] = set()
        for folder in settings.models:
            self._add_first(folder)
        for alias, name in settings.aliases.items():
            self._check_alias(alias, name)
        add_gauges(self.meter, self.admission, self.models)

    # -- which models there are

    @property
    def served(self) -> list[Served]:
        """All models, the default first."""
        return list(self._served.values())

    def add(self, folder: Path) -> Served:
        """Serve one more model; one that has its name already stays. Raises ModelNotFound."""
        entry = locate.entry(folder)
        if entry is None:
            raise ModelNotFound(f'"{folder}" is not a weights folder')
        name = locate.name_of(folder)
        if name not in self._served:
            self._served[name] = Served(name, folder, tuple(entry.abilities))
            self.models.know(self._served[name])
        return self._served[name]

    def _add_first(self, folder: Path) -> None:
        known = self.add(folder).folder
        if not known.samefile(folder):
            raise InvalidRequest(
                f"{known} and {folder} have the same name; a server has one model of a name, so "
                "one of the folders has to be called otherwise"
            )

    def _check_alias(self, alias: str, name: str) -> None:
        try:
            found = self.named(alias)
        except ApiError as error:
            raise InvalidRequest(f"alias {alias}: {error.message}") from None
        if found is None:
            raise InvalidRequest(
                f"alias {alias}: expected the name of a model that is served, got {short(name)}; "
                f"there are: {', '.join(self._served)}"
            )

    async def remove(self, served: Served) -> None:
        """Serve it no longer, and delete its folder.

        Raises ApiError while it is used, and for a folder that is not among the downloaded ones.
        """
        import shutil

        if served.folder.is_symlink() or served.folder.parent not in locate.search_roots():
            raise ApiError(
                403,
                f"{served.name} lies outside the folder of weights, where only its owner deletes",
                code="not_allowed",
                param="model",
            )
        self.models.forget(served)
        self._served.pop(served.name, None)
        await self.models.unload(served)
        await asyncio.to_thread(shutil.rmtree, served.folder)

    def named(self, name: str) -> Served | None:
        """The model that a name stands for. Raises ApiError for what could be several."""
        return meant(name, self._served, self.settings.aliases)

    def known(self, name: str) -> Served:
        """The model of that name, whatever it can do. Raises ApiError."""
        found = self.named(name)
        if found is None:
            raise ApiError(
                404,
                f"model {short(name)} is not served; there are: {', '.join(self._served)}",
                code="model_not_found",
                param="model",
            )
        return found

    def find(self, name: str | None, ability: str) -> Served:
        """The model of that name; without one the first that has the ability. Raises ApiError.

        One that is made for it, such as an embedder, comes before those that chat and have it, too.
        """
        if not name:
            able = [one for one in self.served if ability in one.abilities]
            found = min(able, key=lambda one: "chat" in one.abilities, default=None)
            if found is None:
                raise ApiError(
                    404, f"no model that is served can {ability}", code="model_not_found"
                )
            return found
        found = self.known(name)
        if ability not in found.abilities:
            raise ApiError(
                400,
                f"model {found.name!r} cannot {ability}; it can: {', '.join(found.abilities)}",
                code="unsupported_model",
                param="model",
            )
        return found

    @asynccontextmanager
    async def use(self, name: str | None, ability: str) -> AsyncIterator[Model]:
        """The loaded model; it stays loaded for as long as it is used.

        Waits for a place among the requests that run, and for the memory. Raises ApiError.
        """
        served = self.find(name, ability)
        current = CURRENT.get()
        if current is None:
            async with self._used(served, None) as model:
                yield model
            return
        if self.draining and current.places is None:
            raise ending()
        limit = None if served.fit is None else served.fit.context_length
        beside: Served | None = current.using
        async with self.admission.enter(current, limit), self._used(served, beside) as model:
            current.using = beside or served
            try:
                yield model
            finally:
                current.using = beside

    @asynccontextmanager
    async def _used(self, served: Served, beside: Served | None) -> AsyncIterator[Model]:
        if beside is None:  # whoever uses one already would have others wait for it
            await self.models.turn(served)
        served.users += 1
        try:
            yield await self.models.get(served, beside)
        finally:
            served.users -= 1
            self.models.let_go(served)

    # -- requests on their way

    def acting_for(self, tenant: str | None) -> AbstractContextManager[None]:
        """Calls within are for `tenant`, whose prompts are in its own memory where that is set."""
        return acting_for(tenant, apart=self.settings.isolate_keys)

    @contextmanager
    def answering(self, current: Current) -> Iterator[None]:
        """While a request is answered."""
        self._answering.add(current)
        self.meter.used[current.tenant].requests += 1
        try:
            yield
        finally:
            self._answering.discard(current)

    @contextmanager
    def socket(self, tenant: str | None) -> Iterator[Current]:
        """While a WebSocket is open. Raises ApiError where there are too many."""
        if self.draining:
            raise ending()
        most, own = self.settings.max_sockets, sum(one.tenant == tenant for one in self._sockets)
        if len(self._sockets) >= most:
            raise ApiError(
                503,
                f"{len(self._sockets)} WebSockets are open already",
                code="overloaded",
                retry_after=10,
            )
        if len(self.settings.keys) > 1 and own >= max(1, most // 2):
            raise ApiError(
                429,
                f"{own} WebSockets of this key are open already",
                code="rate_limit_exceeded",
                retry_after=10,
            )
        current = Current(tenant=tenant)
        self._sockets.add(current)
        try:
            yield current
        finally:
            self._sockets.discard(current)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or a WebSocket is open."""
        return bool(self._answering or self._sockets)

    @property
    def crowded(self) -> bool:
        """Whether several requests are being answered."""
        return len(self._answering) > 1

    def end_all(self) -> None:
        """End what is being answered: its time is over."""
        for current in [*self._answering, *self._sockets]:
            current.end(ending())

    # -- from its beginning to its end

    def open_documents(self) -> None:
        """Read the folder of documents, before there are requests.

        Raises CorpusError, and ModelNotFound where there is no embedder.
        """
        from cactus.corpus.corpus import Corpus

        assert self.settings.docs is not None
        self.documents = Corpus(self.settings.docs)

    async def open(self) -> asyncio.Task[None]:
        """Begin to work in the background."""
        return asyncio.get_running_loop().create_task(self.models.watch())

    async def close(self) -> None:
        """Free all models."""
        self.closed = True
        await asyncio.to_thread(self.decoder.close)
        await self.models.close()
        if self.documents is not None:
            await asyncio.to_thread(self.documents.close)
            self.documents = None


def ending() -> ApiError:
    """The error of a request that came, or was not answered, when the server ends."""
    return ApiError(503, "the server is shutting down", code="shutting_down", retry_after=5)
