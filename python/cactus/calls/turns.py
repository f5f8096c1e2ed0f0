"""Whose turn it is on a model's engine: one advance of one call at a time, stoppable and closable.

The engine works for one call at a time, and a call has it for one *advance*: a step of the batch,
the next segment of a transcription, one pass over what is being said. Between two advances others
go on, so calls of any kind interleave, an open stream that nobody reads keeps nobody waiting, and
the code of a caller may call its own model.

Three things must work at any moment: ``stop`` from a signal handler, which may not wait for any
lock; ``close`` while calls are in flight; and a signal handler that calls the model in the middle
of its thread's own advance, which must get an error rather than wait for itself for ever. Native
memory is only ever freed when the engine is at rest.

An interrupt (KeyboardInterrupt) may come out of any line of the main thread, also of those that
clean up. So whose turn it is does not rest on a ``finally`` alone: a turn is held by a lock in a
``with``, which Python itself lets go, and others look at that.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from cactus.calls.stop_flag import StopFlag
from cactus.calls.tenant import current_tenant
from cactus.errors import Cancelled, ForkError, ModelClosed, ReentrantCall

POLL_SECONDS = 0.05
"""Who waits for the engine looks this often whether it was stopped: ``stop`` may not wake it."""


class Bell:
    """Wakes one thread that waits; a ring before it waits is not lost."""

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake it."""
        with suppress(RuntimeError):  # it rings already
            self._silence.release()

    def wait(self, seconds: float) -> None:
        """Wait for a ring, at most so long."""
        self._silence.acquire(timeout=seconds)


class Call:
    """One request, which can be asked to end."""

    __slots__ = ("__weakref__", "bell", "flag", "inside", "step", "tenant")

    def __init__(self) -> None:
        self.tenant = current_tenant()
        self.flag = StopFlag()
        self.bell = Bell()
        self.inside = threading.Lock()
        """Held from before it waits for the engine until its advance is over."""
        self.step: StopFlag | None = None
        """Of a step that works for others, too, and is to end with this call."""

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end."""
        return self.flag.cell[0] != 0

    def stop(self) -> None:
        """Ask it to end. Takes no lock: safe in a signal handler."""
        self.flag.set()
        step = self.step
        if step is not None:
            step.set()


def reentrant() -> ReentrantCall:
    """The error of a signal handler that calls the model in the middle of its thread's advance."""
    return ReentrantCall(
        "this thread is in the middle of another call of this model, which cannot go on before "
        "this one has ended: a signal handler may stop a model, not ask it"
    )


class Turns:
    """The calls in flight of one model, and which of them the engine works for.

    `free` releases the model's native memory, once.
    """

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free
        # With locks of C alone, an interrupt finds no moment between taking one and giving it back.
        self._lock = threading.RLock()
        self._rest = Bell()
        self._calls: tuple[weakref.ref[Call], ...] = ()
        self._queue: deque[Call] = deque()
        self._running: Call | None = None
        self._thread = 0
        self._closed = False
        self._pid = os.getpid()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that loaded the model: nothing can be waited for.

        Another thread may have held any lock when the process forked.
        """
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raises ForkError in a forked child and ModelClosed after ``close``."""
        if self.forked:
            raise ForkError(
                f"this model was loaded in process {self._pid}, before it forked into "
                f"{os.getpid()}; load it again in the child"
            )
        if self._closed:
            raise ModelClosed("the model has been destroyed")

    # -- calls in flight

    def register(self, call: Call) -> None:
        """From now on `call` is in flight: a ``stop`` reaches it."""
        self.check()
        with self._lock:
            alive = tuple(ref for ref in self._calls if ref() not in (None, call))
            self._calls = (*alive, weakref.ref(call))

    def leave(self, call: Call) -> None:
        """`call` has ended, however it ended. Never raises."""
        if self.forked:
            return
        self.exit(call)
        with self._lock:
            self._calls = tuple(ref for ref in self._calls if ref() not in (None, call))

    def stop(self) -> None:
        """Ask every call in flight to end. Takes no lock: safe in a signal handler."""
        for ref in self._calls:
            call = ref()
            if call is not None:
                call.stop()

    # -- the engine

    def advance(self, call: Call, work: Callable[[], None]) -> bool:
        """Do `work` when the engine works for `call`; false if that was stopped meanwhile.

        Raises what `enter` raises, and what `work` does.
        """
        try:
            with call.inside:
                if not self.enter(call):
                    return False
                work()
                return True
        finally:
            self.exit(call)

    def enter(self, call: Call) -> bool:
        """Wait until the engine works for `call`; false if that was stopped meanwhile.

        The caller holds `call.inside`. Raises Cancelled if the model was closed while `call` was in
        flight, ForkError in a child, and ReentrantCall where waiting would never end: in a signal
        handler that interrupted an advance of its own thread.
        """
        if self.forked:
            self.check()
        try:
            while not self._take(call):
                if call.stopped and not self._closed:
                    self._give_up(call)
                    return False
                call.bell.wait(POLL_SECONDS)
        except BaseException:
            self._give_up(call)
            raise
        return True

    def _take(self, call: Call) -> bool:
        """Let the engine work for `call`, if it is free; else `call` stands in the queue."""
        with self._lock:
            self.cancel_if_closed()
            if self._running is call:  # its last advance was interrupted before it said so
                self._running = None
            if self._running is None and not self._queue:
                self._running, self._thread = call, threading.get_ident()
                return True
            if self._works():
                if self._thread == threading.get_ident():
                    raise reentrant()
            elif self._first() in (None, call):
                self._running, self._thread = call, threading.get_ident()
                if self._queue:
                    self._queue.popleft()
                return True
            if call not in self._queue:
                self._queue.append(call)
            return False

    def _works(self) -> bool:
        """Whether the engine works for a call: one that was interrupted is over all the same."""
        return self._running is not None and self._running.inside.locked()

    def _first(self) -> Call | None:
        """The first in the queue; those that were interrupted have left it."""
        while self._queue and not self._queue[0].inside.locked():
            self._queue.popleft()
        return self._queue[0] if self._queue else None

    def _give_up(self, call: Call) -> None:
        with self._lock:
            if call in self._queue:
                self._queue.remove(call)
            self._call_next()

    def _call_next(self) -> None:
        first = self._first()
        if first is not None and not self._works():
            first.bell.ring()

    def exit(self, call: Call) -> None:
        """The advance of `call` is over, if it had one: the engine is free for others."""
        if self.forked:
            return
        with self._lock:
            if self._running is call:
                self._running = None
                if self._closed:
                    self._release()
                    self._rest.ring()
                if self._queue:
                    self._call_next()

    def cancel_if_closed(self) -> None:
        """Raises Cancelled if the model was closed while a call was in flight."""
        if self._closed:
            raise Cancelled("the model was destroyed while this call was running")

    def close(self) -> None:
        """End what is in flight, wait until the engine is at rest, and free the model; idempotent.

        In a forked child only the books are closed: the engine's threads live in the parent.
        """
        if self.forked:
            self._closed = True
            return
        with self._lock:
            self._closed = True
            self.stop()
            for call in tuple(self._queue):
                call.bell.ring()
        while True:
            with self._lock:
                if not self._works():
                    self._release()
                    return
                if self._thread == threading.get_ident():
                    return  # a signal handler inside the very advance: exit() frees when that ends
            self._rest.wait(POLL_SECONDS)

    def _release(self) -> None:
        free, self._free = self._free, None
        if free is not None:
            free()
