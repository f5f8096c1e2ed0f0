"""One call on a model, from its request to its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Generic, TypeVar

from cactus.calls.reader import Reader
from cactus.calls.stopwatch import Stopwatch
from cactus.calls.turns import Call, Turns
from cactus.errors import Cancelled, ReentrantCall

E = TypeVar("E")
R = TypeVar("R")


class Run(ABC, Generic[E, R]):
    """A call in flight: `run` it to its end, or read its `events`; then `result` is there.

    The sync, the streamed and both async forms of a method are four ways to read one run. A
    subclass says what the work is (`_events`), what that comes to (`_result`), and what is to be
    let go at the end (`_let_go`). Most work in the thread that reads them; one that others work for
    can do without a thread that waits (`attend`).
    """

    def __init__(self, turns: Turns, call: Call) -> None:
        self.call = call
        self._turns = turns
        self._begun = self._over = self._ended = self._abandoned = self._attended = False
        self._has_left = False  # over, and nothing has interrupted what is done then
        self._value: R | None = None
        turns.register(call)

    @property
    def result(self) -> R | None:
        """What it has come to, or had when its reader went away; None before, and if it failed."""
        if self._value is None and self._abandoned:
            self._value = self._result()
        return self._value

    def run(self) -> R:
        """Work to the end and return the result."""
        events = self.events()
        try:
            for _ in events:
                pass
        except ReentrantCall:
            self._leave()  # nobody will read it on
            raise
        finally:
            events.close()  # an interrupt between two events leaves it suspended
            if self._over and not self._has_left:
                self._leave()
        assert self._value is not None
        return self._value

    def events(self) -> Generator[E, None, None]:
        """The events, as they are found; between two of them the engine is free for others.

        After a stop it ends, and the result is what was found. After ReentrantCall it is still in
        flight, and may be read on with another call of this. Raises Cancelled if the model is
        closed meanwhile, ForkError, ModelClosed, and what the work raises.
        """
        refused = False
        try:
            if not self._begun:
                if not self._attended:  # else that was looked at when it began
                    self._turns.check()
                self._begun = True
            yield from self._events()
        except Cancelled:  # by a stop; or by close
            self._turns.cancel_if_closed()
        except ReentrantCall:
            refused = True
            raise
        except GeneratorExit:  # the reader has had enough, or the interpreter is shutting down
            self._abandoned = True
            raise
        finally:
            if not refused:
                self._leave()
        self._ended = True
        self._value = self._result()

    def attend(self, reader: Reader, *, streamed: bool = True) -> bool:
        """Begin, and tell `reader` when there is something to read; false if this cannot.

        From then on `events`, or `run` where it is not `streamed`, do not wait while `waits` is
        false.
        """
        return False

    def waits(self) -> bool:
        """Whether there is nothing to read yet; if so, somebody works for it."""
        return False

    def at_work(self) -> bool:
        """Whether somebody still works for it, though it may have been stopped."""
        return False

    def close_unread(self) -> None:
        """End it where nobody has asked for an event, and nobody will; or end was interrupted."""
        if not self._has_left and (self._over or not self._begun):
            self._leave()

    def _leave(self) -> None:
        self._over = True
        self._let_go()
        self._turns.leave(self.call)
        self._has_left = True

    @abstractmethod
    def _events(self) -> Generator[E, None, None]:
        """Work, and yield what is found. It may be begun once more after ReentrantCall."""

    @abstractmethod
    def _result(self) -> R:
        """What the work has come to when it has ended, or its reader has gone."""

    def _let_go(self) -> None:
        """Free what the call holds, however it ended; nothing of it may have begun.

        It is done again where it was interrupted.
        """


class GeneratorRun(Run[E, R]):
    """A run whose work is a generator, which has the engine from one ``yield`` to the next.

    What it yields is an event; None is not, it only lets others go on. What it returns is the
    result. It raises Cancelled once the call is stopped. `watch` is the time that it has the
    engine.
    """

    def __init__(
        self,
        turns: Turns,
        call: Call,
        work: Generator[E | None, None, R | None],
        watch: Stopwatch | None = None,
    ) -> None:
        super().__init__(turns, call)
        self._work, self._watch = work, watch or Stopwatch()
        self._returned: R | None = None
        self._event: E | None = None
        self._finished = False

    def _events(self) -> Generator[E, None, None]:
        while self._turns.advance(self.call, self._step):
            if self._finished:
                return
            event, self._event = self._event, None
            if event is not None:
                yield event

    def _step(self) -> None:
        self._watch.start()
        try:
            self._event = next(self._work)
        except StopIteration as end:
            self._returned, self._finished = end.value, True
        finally:
            self._watch.pause()

    def _result(self) -> R:
        if self._returned is None:
            raise Cancelled("stopped before there was a result")
        return self._returned

    def _let_go(self) -> None:
        self._work.close()
