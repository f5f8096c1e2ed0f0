"""Compilations that are under way: so many in the process at the same time, each grammar once."""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from cactus.errors import InsufficientMemory, Overloaded

PATIENCE = 10.0
"""Seconds that are waited for a place, and for a compilation where the machine is busy."""

MOST = 2
"""Compilations at the same time: those that were given up go on, and nothing can end them. One may
take 80 MB."""

STACK = 32 << 20
"""Bytes for the stack of each: the compiler goes into what is nested, and nothing can catch its end
(`references.MOST_LEVELS`, `rules.MOST_RULES`). The usual 8 MB, or one on Windows, are too few."""

Made = TypeVar("Made")


class Underway:
    """Works in threads of their own. Any thread may ask."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.renew()

    def renew(self) -> None:
        """Forget what was under way: none of its threads lives in a forked child."""
        self._lock = threading.Lock()
        self._works: dict[Hashable, _Work] = {}
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._most):
            self._places.put(None)

    def within(
        self, seconds: float, key: Hashable, work: Callable[[], Made], patience: float = PATIENCE
    ) -> Made | None:
        """What `work` gives, or raises; None where it takes longer: it goes on, and has its place.

        What is under way with the same `key` is waited for instead. Raises Overloaded where no
        place becomes free within `patience` seconds.
        """
        found = self._works.get(key)
        if found is None:
            found = self._begun(key, work, patience)
        made: Made | None = found.result(seconds, patience)
        return made

    def settle(self) -> None:
        """Wait until nothing is under way any more.

        A thread that comes back from the compiler while the interpreter ends would be unwound by
        Python through frames of the compiler, which ends the process with a signal. The work of
        each is bounded (`limits`): it takes seconds.
        """
        for each in list(self._works.values()):
            each.wait()

    def _begun(self, key: Hashable, work: Callable[[], Any], patience: float) -> _Work:
        """The work with `key`, which is begun unless somebody was faster."""
        try:
            self._places.get(timeout=patience)
        except Empty:
            raise Overloaded(
                f"{self._most} grammars that take long to compile are under way, and no more are "
                f"begun meanwhile: none of them ended within {patience:g} s; try again later"
            ) from None
        with self._lock:
            found = self._works.get(key)
            if found is None:
                found = self._works[key] = _Work(work, lambda: self._ended(key))
                found.begin()
            else:
                self._places.put(None)
        return found

    def _ended(self, key: Hashable) -> None:
        del self._works[key]
        self._places.put(None)


class _Work:
    """One work, and the thread that does it."""

    def __init__(self, work: Callable[[], Any], ended: Callable[[], None]) -> None:
        self._work = work
        self._ended = ended
        self._made: Any = None
        self._error: BaseException | None = None
        self._clock: int | None = None
        # From here on: who finds it before it has begun waits, too.
        self._running = threading.Lock()
        self._running.acquire()

    def begin(self) -> None:
        def run() -> None:
            try:
                if sys.platform == "linux":
                    self._clock = time.pthread_getcpuclockid(threading.get_ident())
                self._made = self._work()
            except BaseException as error:
                self._error = error
            self._end()

        # Not by Thread.start: it waits on a Condition, which may turn Ctrl-C into a RuntimeError.
        # Threads that others begin meanwhile have this stack, too, which harms nothing.
        usual = threading.stack_size(STACK)
        try:
            _thread.start_new_thread(run, ())
        except (RuntimeError, MemoryError):
            self._error = InsufficientMemory(
                "the system gives no thread, or no memory for one, to compile the grammar in"
            )
            self._end()
            raise self._error from None
        finally:
            threading.stack_size(usual)

    def _end(self) -> None:
        self._ended()
        self._running.release()

    def wait(self) -> None:
        """Until it has ended."""
        with self._running:
            pass

    def result(self, seconds: float, patience: float) -> Any:
        """What was made, or the error; None once the thread has worked longer than `seconds`."""
        began = time.monotonic()
        while not self._running.acquire(timeout=seconds / 10):
            waited = time.monotonic() - began
            if waited > patience or (waited > seconds and self._worked() > seconds):
                return None
        self._running.release()
        if self._error is not None:
            raise self._error
        return self._made

    def _worked(self) -> float:
        """Seconds of a processor that the thread has had; infinite where nobody knows."""
        if sys.platform != "linux":
            return float("inf")
        try:
            return 0.0 if self._clock is None else time.clock_gettime(self._clock)
        except OSError:  # it has just ended
            return 0.0


UNDERWAY = Underway()
"""Those of this process."""

atexit.register(UNDERWAY.settle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=UNDERWAY.renew)
