"""Who drives a batch for those that have no thread to wait with: readers in event loops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from typing import Protocol

from cactus.calls.reader import Reader, tell
from cactus.calls.threads import starting
from cactus.generate.mailbox import Mailbox


class Letterbox(Mailbox):
    """What a reader in an event loop waits with, for one lane: it is told when the step is over."""

    __slots__ = ("_put", "reader")

    ahead = 16
    """More than a thread has: a reader is told of the tokens of several steps at once, and may have
    others to look after."""

    def __init__(self, reader: Reader, put: Callable[[Letterbox], None], *, patient: bool) -> None:
        super().__init__(patient=patient)
        self.reader, self._put = reader, put
        self.waiting = True  # as far as others can know

    def wake(self) -> None:
        """Let its reader look at it."""
        self._put(self)


class Driven(Protocol):
    """The batch, as far as somebody drives it."""

    @property
    def calls_for_work(self) -> bool:
        """Whether somebody who has no thread wants to go on, or to leave."""
        ...

    @property
    def letterboxes(self) -> Sequence[Letterbox]:
        """The letterboxes of all lanes whose readers have no thread."""
        ...

    def work(self, mailbox: Mailbox, tell: Callable[[], None], /) -> None:
        """Drive as long as they want something, and `tell` after each step.

        Or wait, while another one drives, until there is something in `mailbox`.
        """
        ...


class Pump:
    """A thread that drives while somebody who has none wants to go on.

    What a step gave to whom is told when that is over: one hand-over to an event loop, whatever the
    number of its readers. The thread ends when nobody wants anything, and whoever does starts it.
    """

    def __init__(self) -> None:
        self._mailbox = Mailbox(patient=True)
        """Letterboxes with news: from the driver, which may be another thread."""
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    def letterbox(self, reader: Reader, *, patient: bool) -> Letterbox:
        """What `reader` waits with: `patient` for the end of a lane, else for its tokens."""
        return Letterbox(reader, self._put, patient=patient)

    def start(self, batch: Driven) -> None:
        """See to it that the thread runs, after something was done that gives it work."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, args=(batch,), name="cactus batch")
                with starting():
                    thread.start()
                self._thread = thread  # which does not end before the lock is free

    def tell(self) -> None:
        """Tell those of their news that have some."""
        items, found = self._mailbox.items, list[Reader]()
        with suppress(IndexError):  # another thread may be here, too
            while items:
                found.append(items.popleft().reader)
        if found:
            tell(found)

    def _put(self, letterbox: Letterbox) -> None:
        self._mailbox.items.append(letterbox)
        self._mailbox.wake()
        if self._thread is None:
            self.tell()

    def _work(self, batch: Driven) -> None:
        try:
            while True:
                batch.work(self._mailbox, self.tell)
                self.tell()
                with self._lock:  # whoever gives it work after this finds no thread: starts one
                    if not batch.calls_for_work:
                        self._thread = None
                        break
        except BaseException as error:  # the model is closed; or nobody could drive
            self._fail(batch, error)
        self.tell()  # what another driver has put there meanwhile

    def _fail(self, batch: Driven, error: BaseException) -> None:
        with self._lock:
            self._thread = None
        for letterbox in batch.letterboxes:
            letterbox.failure = copy(error)
            self._mailbox.items.append(letterbox)
