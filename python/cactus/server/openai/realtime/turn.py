"""One turn of a session: its samples, until somebody has written them down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from msgspec import UNSET

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.server.errors import ApiError
from cactus.server.openai.audio_types import DurationUsage, Logprob, logprobs_of
from cactus.server.openai.realtime.events import (
    Failure,
    ServerEvent,
    TranscriptCompleted,
    TranscriptDelta,
    TranscriptFailed,
)
from cactus.server.openai.realtime.settings import LOGPROBS, PENDING, SessionSettings
from cactus.server.work import Gone, told_error

if TYPE_CHECKING:
    from cactus.server.service import Service

T = TypeVar("T")
Send = Callable[[ServerEvent], Awaitable[None]]


class Turn:
    """What was said from one silence, or commit, to the next; `id` is that of its item."""

    def __init__(self, settings: SessionSettings) -> None:
        self.id = f"item_{token_hex(10)}"
        self.settings = settings
        self.samples = 0
        self.waiting = 0
        """Samples that nobody has taken yet."""
        self._inbox: list[F32] = []
        self._ended = self._dropped = self._working = False
        self._wake = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether it is being written down, or could be: then nobody waits for the client."""
        return self._working or self.waiting > 0

    def add(self, samples: F32) -> None:
        """More of it; nothing where it was dropped, or has failed."""
        if self._dropped:
            return
        self.samples += len(samples)
        self.waiting += len(samples)
        self._inbox.append(samples)
        self._wake.set()

    def end(self) -> None:
        """No more comes."""
        self._ended = True
        self._wake.set()

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._dropped = True
        self._inbox.clear()
        self.waiting = 0
        self._wake.set()

    async def write(self, service: Service, executor: ThreadPoolExecutor, send: Send) -> None:
        """Write it down, as it comes, until it ends; the client hears of what fails."""
        try:
            await self._write(service, executor, send)
        except Gone:
            raise
        except Exception as error:
            self.drop()
            told = told_error(error)
            kind = "server_error" if told.status >= 500 else "invalid_request_error"
            failure = Failure(type=kind, code=told.code or "server_error", message=told.message)
            await send(TranscriptFailed(item_id=self.id, error=failure))

    async def _write(self, service: Service, executor: ThreadPoolExecutor, send: Send) -> None:
        async with service.use(self.settings.model, "transcribe") as model:
            loop = asyncio.get_running_loop()
            options = self.settings.options
            live = await loop.run_in_executor(executor, lambda: model.transcribe_live(**options))

            async def do(work: Callable[..., T], *given: Any) -> T:
                # A thread of the session's own: those of the loop would all wait for one model.
                future = loop.run_in_executor(executor, work, *given)
                self._working = True
                try:
                    return await asyncio.shield(future)
                except asyncio.CancelledError:
                    live.close()  # nothing begins any more
                    live.stop()
                    await asyncio.wait([future])
                    raise
                finally:
                    self._working = False

            with live:
                pending, logprobs = "", list[Logprob]()
                while not self._dropped:
                    await self._wake.wait()
                    samples, last = self._take()
                    if len(samples):
                        update = await do(live.feed, samples)
                        logprobs += logprobs_of(update.segments)
                        pending = await self._tell(update, pending, send)
                    if last and not self._dropped:
                        update = await do(live.finish)
                        seconds = self.samples / SAMPLE_RATE
                        service.meter.audio(model.name, seconds)
                        logprobs += logprobs_of(update.segments)
                        await self._tell(update, pending, send)
                        await send(
                            TranscriptCompleted(
                                item_id=self.id,
                                transcript=live.text,
                                usage=DurationUsage(seconds=seconds),
                                logprobs=logprobs if LOGPROBS in self.settings.include else UNSET,
                            )
                        )
                        return

    def _take(self) -> tuple[F32, bool]:
        """All that has come, and whether it is the last."""
        samples = np.concatenate((np.zeros(0, np.float32), *self._inbox))
        self._inbox.clear()
        self.waiting = 0
        self._wake.clear()
        return samples, self._ended

    async def _tell(self, update: Any, pending: str, send: Send) -> str:
        wanted = PENDING in self.settings.include and update.pending != pending
        if update.confirmed or wanted:
            shown = update.pending if PENDING in self.settings.include else UNSET
            await send(TranscriptDelta(item_id=self.id, delta=update.confirmed, pending=shown))
        return str(update.pending)


def no_turn(message: str) -> ApiError:
    """The error for a commit of nothing."""
    return ApiError(400, message, code="input_audio_buffer_commit_empty")
