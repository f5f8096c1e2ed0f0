"""Whose turn it is on a model: one call at a time, stoppable and closable from anywhere.

A model has one cache, so its calls run one after another. Three things must work all the same:
``stop`` from a signal handler, which may not wait for any lock; ``close`` while a call runs, or
while its caller holds a half-read stream; and a callback that calls back, which must get an error
rather than wait for itself for ever.

A call is *inside* while the engine works for it and *outside* while the caller's own code runs
between two tokens. Native memory is only ever freed when no call is inside.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled, ForkError, ModelClosed, ReentrantCall

POLL_SECONDS = 0.05
"""A waiting call looks this often whether it was stopped: ``stop`` may not wake it by a lock."""


class Call:
    """One request: who waits for its tokens, and whether it was asked to end.

    `blocking`: its consumer waits in its own thread (not in an event loop). `pulled`: it only goes
    on while its consumer asks for more.
    """

    __slots__ = ("__weakref__", "blocking", "flag", "pulled", "task", "thread")

    def __init__(self, *, blocking: bool = True, pulled: bool = True) -> None:
        self.flag = StopFlag()
        self.blocking = blocking
        self.pulled = pulled
        self.move_here()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end."""
        return bool(self.flag)

    def stop(self) -> None:
        """Ask it to end. Takes no lock: safe in a signal handler."""
        self.flag.set()

    def move_here(self) -> None:
        """Note that the code that runs now is the one that waits for this call."""
        # The object and not its ident, which the system gives to a new thread when this one ends.
        self.thread = threading.current_thread()
        self.task = _current_task()

    def waits_for(self, running: Call) -> bool:
        """True if this call could only begin after `running`, and `running` only go on after it."""
        if not running.pulled or running.thread is not self.thread:
            return False
        return self.blocking or self.task is running.task


class Turns:
    """Serialises the calls of one model. `free` releases the model's native memory, once."""

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free
        self._changed = threading.Condition()
        self._calls: tuple[weakref.ref[Call], ...] = ()
        self._queue: deque[Call] = deque()
        self._running: Call | None = None
        self._outside = False
        self._engine_thread = 0
        self._closed = False
        self._pid = os.getpid()

    @property
    def closed(self) -> bool:
        return self._closed

    def check(self) -> None:
        """Raises ForkError in a forked child and ModelClosed after ``close``."""
        if os.getpid() != self._pid:
            raise ForkError(
                f"this model was loaded in process {self._pid}, before it forked into "
                f"{os.getpid()}; load it again in the child"
            )
        if self._closed:
            raise ModelClosed("the model has been destroyed")

    def register(self, call: Call) -> None:
        """From now on `call` is in flight: a ``stop`` reaches it even before its turn."""
        self.check()
        with self._changed:
            alive = tuple(ref for ref in self._calls if ref() is not None)
            self._calls = (*alive, weakref.ref(call))

    def enter(self, call: Call) -> bool:
        """Wait for the turn of `call`; false if it was stopped before its turn came.

        Raises ReentrantCall where waiting would never end, and Cancelled if the model is closed
        meanwhile.
        """
        self.check()
        with self._changed:
            if self._running is not None and call.waits_for(self._running):
                raise ReentrantCall(
                    "this model is already answering in the same thread: a callback may not call "
                    "its own model, and an open stream must be read to its end or closed first"
                )
            self._queue.append(call)
            try:
                while self._running is not None or self._queue[0] is not call:
                    if call.stopped and not self._closed:
                        return False
                    self.cancel_if_closed()
                    self._changed.wait(POLL_SECONDS)
                self.cancel_if_closed()
                self._running, self._outside = call, False
                self._engine_thread = threading.get_ident()
            finally:
                self._queue.remove(call)
                self._changed.notify_all()
        return True

    def step_outside(self) -> None:
        """The caller's own code runs next; the engine is at rest."""
        with self._changed:
            self._outside = True
            if self._closed:
                self._changed.notify_all()

    def step_inside(self) -> None:
        """The engine works next. Raises Cancelled if the model was closed meanwhile."""
        if os.getpid() != self._pid:
            self.check()
        with self._changed:
            self.cancel_if_closed()
            self._outside = False
            self._engine_thread = threading.get_ident()

    def cancel_if_closed(self) -> None:
        """Raises Cancelled if the model was closed while a call was in flight."""
        if self._closed:
            raise Cancelled("the model was destroyed while this call was running")

    def leave(self, call: Call) -> None:
        """`call` has ended, however it ended. Never raises."""
        if os.getpid() != self._pid:
            return  # another thread may have held the lock when the process forked
        with self._changed:
            self._calls = tuple(ref for ref in self._calls if ref() not in (None, call))
            if self._running is call:
                self._running = None
                if self._closed:
                    self._release()
            self._changed.notify_all()

    def stop(self) -> None:
        """Ask every call in flight to end. Takes no lock: safe in a signal handler."""
        for ref in self._calls:
            call = ref()
            if call is not None:
                call.stop()

    def close(self) -> None:
        """End the running call, wait until the engine is at rest, and free the model; idempotent.

        In a forked child only the books are closed: the engine's threads live in the parent.
        """
        if os.getpid() != self._pid:
            self._closed = True
            return
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self.stop()
            self._changed.notify_all()
            if not self._wait_for_rest():
                return  # a signal handler inside the very call: leave() frees when that ends
            self._release()

    def _wait_for_rest(self) -> bool:
        while self._running is not None and not self._outside:
            if self._engine_thread == threading.get_ident():
                return False
            self._changed.wait(POLL_SECONDS)
        return True

    def _release(self) -> None:
        free, self._free = self._free, None
        if free is not None:
            free()


def _current_task() -> Any:
    """The asyncio task that runs in this thread, if any (without importing asyncio for it)."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
