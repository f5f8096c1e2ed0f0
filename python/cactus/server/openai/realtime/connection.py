"""One connection: what a client sends goes to its turns, what they come to goes to the client."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.server.endpoint import encode
from cactus.server.errors import ApiError
from cactus.server.openai.realtime.events import (
    CLIENT_EVENTS,
    Append,
    Clear,
    Cleared,
    ClientEvent,
    Commit,
    Committed,
    ErrorEvent,
    EventError,
    Item,
    ItemAdded,
    ItemCreated,
    ItemDone,
    Named,
    OldSessionCreated,
    OldSessionUpdated,
    ServerEvent,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptionSessionUpdate,
)
from cactus.server.openai.realtime.settings import SessionSettings, new_id
from cactus.server.openai.realtime.sound import Begin, End, Sound, Turns
from cactus.server.openai.realtime.turn import Turn, no_turn
from cactus.server.service import ending
from cactus.server.work import Gone, told_error

if TYPE_CHECKING:
    from cactus.server.current import Current
    from cactus.server.service import Service

MAX_MESSAGE = 8 << 20
"""Characters of an event; base64 of two minutes of 16-bit samples at 24 kHz."""

MAX_UNREAD, MAX_EVENTS = 2 * MAX_MESSAGE, 1000
"""Characters and events that are taken from a connection before somebody has looked at them."""

MAX_WAITING = 120 * SAMPLE_RATE
"""Samples that wait to be written down, of all turns of a session."""

MAX_TURNS = 256
"""Turns that wait, of a session."""

LEAST = SAMPLE_RATE // 10
"""Samples of a turn that a client may commit."""

LOOKS = 0.2
"""Seconds between two looks at whether the session is to end."""

GOING_AWAY, POLICY = 1001, 1008


class Connection:
    """A session. `old`: the client knows the older form of events."""

    def __init__(
        self,
        socket: WebSocket,
        service: Service,
        settings: SessionSettings,
        current: Current,
        *,
        old: bool,
    ) -> None:
        self._socket, self._service, self._current = socket, service, current
        self._old = old
        self._active = time.monotonic()  # when something was said or written down
        self._id, self._settings = new_id(), settings
        self._executor = ThreadPoolExecutor(1, "cactus-realtime")
        self._sending = asyncio.Lock()
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue(MAX_EVENTS)
        self._took, self._unread = asyncio.Event(), 0  # characters of what is in the box
        self._queue: asyncio.Queue[Turn] = asyncio.Queue()
        self._turns: list[Turn] = []  # that are not written down yet
        self._turn: Turn | None = None  # that goes on
        self._last: str | None = None  # the item before
        self._heard = self._uncommitted = 0  # samples of all, and since the last commit
        self._open_sound()

    async def run(self) -> None:
        """Serve the client until it leaves, or the session is to end."""
        works = (self._read, self._listen, self._write, self._watch)
        tasks = [asyncio.ensure_future(each()) for each in works]
        try:
            await self._send(
                OldSessionCreated(session=self._settings.old_reply(self._id))
                if self._old
                else SessionCreated(session=self._settings.reply(self._id))
            )
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Gone:
            return
        except ApiError as error:
            with suppress(Gone, WebSocketDisconnect, RuntimeError):
                await self._tell(error, None)
                await self._socket.close(GOING_AWAY if error.status == 503 else POLICY)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._executor.shutdown(wait=False)

    async def _read(self) -> None:
        """Take events until the client leaves.

        It goes on while they are worked on, so that a connection's pings are answered meanwhile.
        """
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._active = time.monotonic()
            text = message.get("text")
            await self._inbox.put(text)
            self._unread += len(text or "")
            while self._unread > MAX_UNREAD:
                self._took.clear()
                await self._took.wait()

    async def _listen(self) -> None:
        """Do what the client asks for, one event after the other."""
        while True:
            text = await self._inbox.get()
            await self._take(text)
            self._unread -= len(text or "")
            self._took.set()

    async def _write(self) -> None:
        """Write down one turn after the other."""
        while True:
            turn = await self._queue.get()
            await turn.write(self._service, self._executor, self._send)
            self._turns.remove(turn)

    async def _watch(self) -> None:
        """Raises ApiError when the session is to end: the server does, or nothing happens here."""
        ended, patience = self._current.ended, self._service.settings.socket_seconds
        while not ended.done():
            if self._service.draining and not self._turns and not self._unread:
                raise ending()
            if any(turn.busy for turn in self._turns):
                self._active = time.monotonic()
            elif time.monotonic() > self._active + patience:
                raise ApiError(
                    408, f"nothing was sent for {patience:g} seconds", code="session_expired"
                )
            await asyncio.wait({ended}, timeout=LOOKS)
        raise ended.result()

    async def _send(self, event: ServerEvent) -> None:
        async with self._sending:
            try:
                await self._socket.send_text(encode(event).decode())
            except (WebSocketDisconnect, RuntimeError):  # the second: it was closed before
                raise Gone from None

    async def _take(self, text: str | None) -> None:
        """One event of the client; what is wrong with it is told, and the session goes on."""
        try:
            if text is None:
                raise ApiError(400, "an event is a text of JSON, not bytes", code="invalid_json")
            if len(text) > MAX_MESSAGE:
                raise ApiError(
                    413,
                    f"an event has {len(text):,} characters, expected {MAX_MESSAGE:,} at most",
                    code="event_too_large",
                )
            await self._do(await self._event(text))
        except Gone:
            raise
        except Exception as error:
            await self._tell(error, text)

    async def _tell(self, error: Exception, text: str | None) -> None:
        """Tell of an error; `text` is the event that was wrong, where it was one."""
        told = told_error(error)
        await self._send(
            ErrorEvent(
                error=EventError(
                    type="server_error" if told.status >= 500 else "invalid_request_error",
                    code=told.code,
                    message=told.message,
                    param=told.param,
                    event_id=_id_of(text),
                )
            )
        )

    async def _event(self, text: str) -> ClientEvent:
        raw = text.encode("utf-8", "surrogatepass")
        try:
            event: ClientEvent = await self._service.decoder.decode([raw], ClientEvent)
        except ApiError as error:
            if error.param == "type":
                error.message += f"; a session takes {CLIENT_EVENTS}"
            raise
        return event

    async def _do(self, event: ClientEvent) -> None:
        if isinstance(event, SessionUpdate):
            await self._update(event)
        elif isinstance(event, Append):
            await self._append(event)
        elif isinstance(event, Commit):
            await self._commit()
        else:
            assert isinstance(event, Clear)
            await self._clear()

    async def _update(self, event: SessionUpdate) -> None:
        before = self._settings
        self._settings = before.updated(event.session, self._service)
        if (before.format, before.vad) != (self._settings.format, self._settings.vad):
            if self._turn is not None:
                self._settings = before
                raise ApiError(
                    400,
                    "format and turn_detection cannot change while somebody speaks: commit or "
                    "clear first",
                    code="invalid_value",
                    param="session",
                )
            self._open_sound()
        await self._send(
            OldSessionUpdated(session=self._settings.old_reply(self._id))
            if isinstance(event, TranscriptionSessionUpdate)
            else SessionUpdated(session=self._settings.reply(self._id))
        )

    def _open_sound(self) -> None:
        settings = self._settings
        self._sound = Sound(settings.format, settings.rate)
        self._detector = None if settings.vad is None else Turns(settings.vad, self._heard)

    async def _append(self, event: Append) -> None:
        coming = len(event.audio) * SAMPLE_RATE // self._settings.rate
        coming = coming // 2 if self._settings.format == "audio/pcm" else coming
        waiting = sum(turn.waiting for turn in self._turns)
        if waiting + coming > MAX_WAITING or len(self._turns) >= MAX_TURNS:
            have = f"{waiting / SAMPLE_RATE:.1f} s in {len(self._turns)} turns"
            raise ApiError(
                429,
                f"audio of {coming / SAMPLE_RATE:.1f} s was not taken: {have} wait to be written "
                f"down, and {MAX_WAITING // SAMPLE_RATE} s in {MAX_TURNS} may; send it later",
                code="input_audio_buffer_full",
                param="audio",
            )
        samples = await asyncio.to_thread(self._sound.feed, event.audio)
        self._uncommitted += coming
        await self._hear(samples)

    async def _hear(self, samples: F32) -> None:
        self._heard += len(samples)
        if self._detector is None:
            if len(samples):
                self._begin().add(samples)
            return
        await self._follow(await asyncio.to_thread(list, self._detector.feed(samples)))

    async def _follow(self, found: list[Begin | F32 | End]) -> None:
        """What a detector has found, as events."""
        for each in found:
            if isinstance(each, Begin):
                turn = self._begin()
                start = each.at * 1000 // SAMPLE_RATE
                await self._send(SpeechStarted(audio_start_ms=start, item_id=turn.id))
            elif isinstance(each, End):
                assert self._turn is not None
                end = each.at * 1000 // SAMPLE_RATE
                await self._send(SpeechStopped(audio_end_ms=end, item_id=self._turn.id))
                await self._end()
            else:
                self._begin().add(each)

    def _begin(self) -> Turn:
        """The turn that goes on, or a new one."""
        if self._turn is None:
            self._turn = Turn(self._settings)
            self._turns.append(self._turn)
            self._queue.put_nowait(self._turn)
        return self._turn

    async def _end(self) -> None:
        """The turn is an item from now on."""
        turn, before = self._begin(), self._last
        self._turn, self._last, self._uncommitted = None, turn.id, 0
        await self._send(Committed(previous_item_id=before, item_id=turn.id))
        item = Item(id=turn.id)
        if self._old:
            await self._send(ItemCreated(previous_item_id=before, item=item))
        else:
            await self._send(ItemAdded(previous_item_id=before, item=item))
            await self._send(ItemDone(previous_item_id=before, item=item))
        turn.end()

    async def _commit(self) -> None:
        have = self._uncommitted
        if have < LEAST:
            raise no_turn(
                f"the buffer has {1000 * have // SAMPLE_RATE} ms of audio, expected 100 ms or more "
                "before a commit"
            )
        before = self._last
        await self._hear(await asyncio.to_thread(self._sound.finish))
        if self._detector is not None:
            await self._follow(await asyncio.to_thread(list, self._detector.finish()))
        if self._last == before:  # a detector ends a turn by itself, where somebody spoke
            await self._end()
        self._uncommitted = 0
        self._open_sound()

    async def _clear(self) -> None:
        if self._turn is not None:
            self._turn.drop()
            self._turn = None
        self._uncommitted = 0
        self._open_sound()
        await self._send(Cleared())


def _id_of(text: str | None) -> str | None:
    """The id that a client gave an event, if it can be read."""
    if text is None or len(text) > MAX_MESSAGE:
        return None
    with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
        return msgspec.json.decode(text, type=Named).event_id
    return None
