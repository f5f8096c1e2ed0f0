"""Who drives the batch: of those that wait for something, one works for all.

It runs one step after another for all lanes that want to go on, until it has what it waits for, and
then hands the drive to another one that waits. So a single caller computes in its own thread, and
nothing is handed over. Readers in event loops have no thread that waits: the pump is theirs, a
thread that is there while one of them wants to go on.
"""

from __future__ import annotations

import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy

from cactus.calls.reader import Reader
from cactus.calls.turns import Call, Turns, reentrant
from cactus.errors import CactusError
from cactus.generate.lane import Item, Lane
from cactus.generate.mailbox import Mailbox
from cactus.generate.pump import Letterbox, Pump

POLL_SECONDS = 0.25
"""A thread that waits looks this often whether nobody drives: one that was interrupted while it
handed over may have woken nobody."""


class Driving(ABC):
    """Lanes, those who wait for them, and the one of these who drives.

    A subclass says what a step is (`_work`), how what one gave reaches the lanes (`_settle`), and
    how a lane ends (`_end`).
    """

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self._lanes: list[Lane] = []  # in the order in which they came
        self._turn = Call()
        self._lock = threading.RLock()
        self._pump = Pump()
        self._waiting: list[Mailbox] = []
        self._driver: weakref.ref[Mailbox] | None = None
        self._thread = 0

    @abstractmethod
    def _work(self) -> None:
        """One step for all that want to go on; those whose time has come join and leave."""

    @abstractmethod
    def _settle(self) -> None:
        """Give all lanes what the last step gave. May be done again where it was interrupted."""

    @abstractmethod
    def _end(self, lane: Lane, error: Exception | None = None) -> None:
        """`lane` leaves."""

    # -- what callers do

    def mailbox(self, *, patient: bool) -> Mailbox:
        """What a thread waits with, for one lane that is streamed or for the ends of several."""
        return Mailbox(patient=patient)

    def letterbox(self, reader: Reader, *, patient: bool) -> Letterbox:
        """What a reader in an event loop waits with, for one lane."""
        return self._pump.letterbox(reader, patient=patient)

    def join(self, lane: Lane) -> None:
        """From the next step on, `lane` takes part."""
        self._lanes.append(lane)

    def next(self, mailbox: Mailbox) -> Item:
        """The next thing in `mailbox`; this thread works for all until there is one.

        Raises Cancelled if the model is closed meanwhile, ForkError in a child, and ReentrantCall
        where waiting would never end: in a signal handler that interrupted the driver.
        """
        items = mailbox.items
        if self.turns.forked:
            self.turns.check()
        if not items and mailbox.failure is not None:
            raise copy(mailbox.failure)
        while not items:
            try:
                if self._drives(mailbox):
                    while not items:
                        self._advance()
            finally:
                self._hand_over(mailbox)
        item: Item = items.popleft()
        return item

    def go_on(self) -> None:
        """See to it that somebody works for those that have no thread."""
        self._pump.start(self)

    def work(self, mailbox: Mailbox, tell: Callable[[], None]) -> None:
        """Drive as long as those that have no thread want something, and `tell` after each step.

        Or wait, while another one drives, until there is something in `mailbox`. Raises what `next`
        does.
        """
        try:
            if self._drives(mailbox):
                while self.calls_for_work:
                    self._advance()
                    tell()
        finally:
            self._hand_over(mailbox)

    @property
    def calls_for_work(self) -> bool:
        """Whether somebody who has no thread wants to go on, or to leave."""
        return any([lane.calls_for_work for lane in tuple(self._lanes)])

    @property
    def letterboxes(self) -> Sequence[Letterbox]:
        """The letterboxes of all lanes whose readers have no thread."""
        found = [lane.letterbox for lane in tuple(self._lanes)]
        return [letterbox for letterbox in found if letterbox is not None]

    def leave(self, mailbox: Mailbox, lanes: Iterable[Lane]) -> None:
        """Nobody waits for `lanes` with `mailbox` any more, nor drives.

        Never waits, never raises: their memory is free within the step that runs now, if one does.
        """
        if self.turns.forked:
            return
        for lane in lanes:
            lane.gone = True
        if isinstance(mailbox, Letterbox):
            if self._abandoned and not sys.is_finalizing():
                with suppress(RuntimeError):  # the interpreter is shutting down
                    self.go_on()
            return
        self._wait_no_more(mailbox)
        with self._lock:
            if not self._drives_now(mailbox):
                if self._driving is not None or not self._abandoned:
                    return
                self._become_driver(mailbox)
        self._hand_over(mailbox)

    @property
    def _abandoned(self) -> bool:
        return any([lane.abandoned for lane in self._lanes])

    # -- who drives

    @property
    def _driving(self) -> Mailbox | None:
        return None if self._driver is None else self._driver()

    def _drives_now(self, mailbox: Mailbox) -> bool:
        return self._driving is mailbox and self._thread == threading.get_ident()

    def _become_driver(self, mailbox: Mailbox) -> None:
        self._driver, self._thread = weakref.ref(mailbox), threading.get_ident()

    def _drives(self, mailbox: Mailbox) -> bool:
        """Become the driver; or wait until there is something to look at, and return false."""
        with self._lock:
            if self._driving is None:
                self._become_driver(mailbox)
                return True
            if self._thread == threading.get_ident():
                raise reentrant()
        try:
            mailbox.waiting = True  # before it is looked into: who puts something in, looks then
            self._waiting.append(mailbox)
            if not mailbox.items and self._driver is not None:
                mailbox.bell.wait(POLL_SECONDS)
        finally:
            self._wait_no_more(mailbox)
        return False

    def _wait_no_more(self, mailbox: Mailbox) -> None:
        mailbox.waiting = False
        with self._lock:
            while mailbox in self._waiting:
                self._waiting.remove(mailbox)

    def _hand_over(self, mailbox: Mailbox) -> None:
        """Let another one drive, if `mailbox` does; after those have left who are gone."""
        swept = False
        while True:
            with self._lock:
                driver = self._drives_now(mailbox)
                if not driver or swept or not self._abandoned:
                    if driver:
                        self._driver = None
                    if self._waiting and self._driving is None:
                        self._wake_next()
                    return
            swept = True
            if self.turns.closed:
                self._sweep()
            else:
                with suppress(CactusError):
                    self.turns.advance(self._turn, self._settle_and_sweep)

    def _wake_next(self) -> None:
        waiting = [mailbox for mailbox in self._waiting if not mailbox.items]
        if waiting:  # one that waits for a whole answer drives longest
            next((one for one in waiting if one.patient), waiting[0]).bell.ring()

    def _advance(self) -> None:
        """One step for all that want to go on; those whose time has come join and leave."""
        self.turns.advance(self._turn, self._work)

    def _sweep(self) -> None:
        """Those that are stopped, or that nobody waits for, leave."""
        over = [lane for lane in self._lanes if lane.over]
        for lane in over:
            self._end(lane)
        if over:
            self._pump.tell()  # who waits for that need not wait for the next step

    def _settle_and_sweep(self) -> None:
        self._settle()
        self._sweep()
