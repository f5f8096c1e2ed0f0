"""``/api/pull``: fetch a model and serve it; and what is not available here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from hashlib import sha256
from typing import Any

from msgspec import UNSET, UnsetType

from cactus.errors import DownloadError
from cactus.server.endpoint import Ask, Endpoint, Reply, Stream, ndjson
from cactus.server.errors import ApiError
from cactus.server.ollama.errors import DIALECT
from cactus.server.ollama.models import NameRequest
from cactus.server.service import ending

TOLD_SECONDS = 0.1
"""A line of progress at most this often."""

_RUNNING: set[asyncio.Task[None]] = set()


class PullRequest(NameRequest, kw_only=True):
    """A model that is to be fetched: a name of the catalog or a Hugging Face id."""

    stream: bool | None = None


class PullLine(Reply, kw_only=True):
    """How far it is; the last one is "success"."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class _Told:
    """The newest progress, told in the event loop; older ones that nobody has read are dropped."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._rows: dict[str, tuple[int, int]] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """A `Progress`, for the thread that downloads."""
        self._loop.call_soon_threadsafe(self._take, label, done, total)

    def _take(self, label: str, done: int, total: int) -> None:
        self._rows[label] = (done, total)
        self._news.set()

    async def rows(self, work: asyncio.Future[Any]) -> AsyncIterator[PullLine]:
        """Lines until the work has ended."""
        while not work.done() or self._rows:
            waiting = asyncio.ensure_future(self._news.wait())
            await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            self._news.clear()
            rows, self._rows = self._rows, {}
            for label, (done, total) in rows.items():
                yield _line(label, done, total)
            if not work.done():
                await asyncio.sleep(TOLD_SECONDS)


async def pull(ask: Ask[PullRequest]) -> PullLine | Stream:
    """Fetch a model."""
    name = ask.body.wanted
    if ask.body.stream is not False:
        return Stream(_lines(ask, name), form="ndjson")
    await asyncio.shield(_begin(_fetch(ask, name, None)))
    return PullLine(status="success")


async def _lines(ask: Ask[PullRequest], name: str) -> AsyncIterator[bytes]:
    told = _Told()
    work = _begin(_fetch(ask, name, told))
    yield ndjson(PullLine(status="pulling manifest"))
    async for line in told.rows(work):
        yield ndjson(line)
    work.result()
    yield ndjson(PullLine(status="success"))


def _begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Fetch, whether whoever asked stays or not: another one may have asked for the same."""
    task = asyncio.ensure_future(work)
    _RUNNING.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[None]) -> None:
    _RUNNING.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it as forgotten


async def _fetch(ask: Ask[PullRequest], name: str, told: _Told | None) -> None:
    from cactus.weights.download import download

    def progress(label: str, done: int, total: int) -> None:
        if ask.service.closed:  # nothing else ends a thread, and the process waits for it
            raise ending()
        if told is not None:
            told(label, done, total)

    try:
        folder = await asyncio.to_thread(download, name, progress=progress)
    except DownloadError as error:
        raise ApiError(502, str(error), code="download_failed", param="model") from None
    ask.service.add(folder)


def _line(label: str, done: int, total: int) -> PullLine:
    if not total:
        return PullLine(status=label)
    return PullLine(
        status=f"pulling {label}",
        digest=f"sha256:{sha256(label.encode()).hexdigest()}",
        total=total,
        completed=min(done, total),
    )


_INSTEAD = {
    "/api/create": "models are converted with: cactus convert",
    "/api/copy": "a model has one name; cactus serve --alias gives it others",
    "/api/push": "nothing is published from here",
}


def _refusal(path: str, why: str) -> Endpoint:
    async def refuse(ask: Ask[None]) -> Reply:
        """Say that it is not there, and what is."""
        raise ApiError(400, f"{path} is not supported: {why}", code="not_supported")

    return Endpoint("POST", path, refuse, DIALECT, f"Not supported: {why}.", admin=True)


ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/pull",
        pull,
        DIALECT,
        "Fetch a model and serve it.",
        body=PullRequest,
        reply=PullLine,
        event=PullLine,
        errors=(404, 502),
        admin=True,
    ),
    *(_refusal(path, why) for path, why in _INSTEAD.items()),
    _refusal("/api/blobs/{digest}", "models are converted with: cactus convert"),
]
