"""One batch that anybody may join: the requests of all threads are rows of the same steps.

A request is a lane. It joins at any step and leaves at any step; a row has the same bits in any
company, so every answer is the one that it would be alone. Nobody works in the background: of the
threads that wait for something, one *drives*. It runs one step after another for all lanes that
want to go on, until it has what it waits for, and then hands the drive to another one that waits.
So a single caller computes in its own thread, and nothing is handed over.

The driver can be interrupted at any moment. What a step gave is therefore kept until all lanes have
it, and whoever drives next goes on from there.
"""

from __future__ import annotations

import threading
import time
import weakref
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

from cactus.calls.turns import Call, Turns, reentrant
from cactus.errors import (
    CactusError,
    Cancelled,
    InsufficientMemory,
    NonFiniteLogits,
)
from cactus.generate.answer import Request
from cactus.generate.conversations import WORTH_SHARING, Conversations
from cactus.generate.draft import Draft
from cactus.generate.lane import Item, Lane, Mailbox
from cactus.generate.prefix import common_prefix
from cactus.generate.schedule import Part, Schedule

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

MOST = 64
"""Lanes in one step at most."""

LITTLE = 8
"""Less than an eighth of a step is not read by itself before a tile, but together with it: a
tile is often as long as a step, and the few tokens between two would take steps of their own."""

POLL_SECONDS = 0.25
"""A thread that waits looks this often whether nobody drives: one that was interrupted while it
handed over may have woken nobody."""


class _Step:
    """A step that runs or has run, and how many of its parts have been given what is theirs.

    Or `steps` in a row, if it is more than one.
    """

    __slots__ = ("given", "outputs", "parts", "pending", "rows", "steps")

    def __init__(
        self, parts: Sequence[Part], rows: Sequence[Any], steps: int, pending: Any
    ) -> None:
        self.parts, self.rows, self.steps, self.pending = parts, rows, steps, pending
        self.outputs: Sequence[Any] | None = None
        self.given = 0


class Batch:
    """The lanes of one loaded text model."""

    def __init__(self, engine: Loaded, turns: Turns, conversations: Conversations) -> None:
        self.engine, self.turns, self.conversations = engine, turns, conversations
        self.draft = None if engine.draft is None else Draft(engine, engine.draft)
        self._schedule = Schedule(engine.program.chunk, engine.costs)
        self._ends = array("i", sorted(engine.end_tokens))
        self._most = min(MOST, engine.program.chunk)
        self._little = max(1, engine.program.chunk // LITTLE)
        self._room = self._most  # lanes with a session, of those that want to go on
        self._lanes: list[Lane] = []  # in the order in which they came
        self._step: _Step | None = None
        self._guessing = True
        self._turn = Call()
        self._lock = threading.RLock()
        self._waiting: list[Mailbox] = []
        self._driver: weakref.ref[Mailbox] | None = None
        self._thread = 0

    # -- what callers do

    def mailbox(self, *, patient: bool) -> Mailbox:
        """What a thread waits with, for one lane that is streamed or for the ends of several."""
        return Mailbox(patient=patient)

    def lane(self, call: Call, request: Request, mailbox: Mailbox, *, kept: bool = True) -> Lane:
        """A lane for `request`, which is to `join`; streamed, where the mailbox is not patient."""
        streamed = not mailbox.patient
        return Lane(
            self.engine, call, request, mailbox, streamed=streamed, kept=kept, draft=self.draft
        )

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
        if items:
            return items.popleft()
        while not items:
            try:
                if self._drives(mailbox):
                    while not items:
                        self._advance()
            finally:
                self._hand_over(mailbox)
        return items.popleft()

    def leave(self, mailbox: Mailbox, lanes: Iterable[Lane]) -> None:
        """Nobody waits for `lanes` with `mailbox` any more, nor drives.

        Never waits, never raises: their memory is free within the step that runs now, if one does.
        """
        if self.turns.forked:
            return
        for lane in lanes:
            lane.gone = True
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

    # -- a step

    def _advance(self) -> None:
        """One step for all that want to go on; those whose time has come join and leave."""
        self.turns.advance(self._turn, self._work)

    def _work(self) -> None:
        self._settle()
        self._sweep()
        self._admit()
        wanting = [lane for lane in self._lanes if lane.wants]
        parts: list[Part] = []
        if any([lane.progress.sees for lane in wanting]):
            self._look(wanting)
            wanting = [
                lane for lane in wanting if lane.wants and not lane.progress.blind(self._little)
            ]
            parts = self._whole(wanting)
        if not parts:
            parts = self._schedule.parts(
                wanting, self._bounds, guessing=self._guessing, draft=self.draft
            )
        self._guessing = True
        if parts:
            self._run(parts)

    def _whole(self, wanting: Sequence[Lane]) -> list[Part]:
        """A part of an image that must be read in one step, which it has to itself."""
        found = next((lane for lane in wanting if lane.progress.whole), None)
        return [] if found is None else [Part(found, found.progress.whole)]

    def _look(self, wanting: Sequence[Lane]) -> None:
        """The first lane that is to read what it has not seen looks at one tile of its image.

        So others wait for a tile at most, and each tile is read before the next is looked at.
        """
        lane = next((lane for lane in wanting if lane.progress.blind(self._little)), None)
        if lane is None:
            return
        try:
            lane.look()
        except Cancelled:
            return  # it is stopped: it leaves before the next step
        except Exception as error:
            self._end(lane, error)

    def _sweep(self) -> None:
        """Those that are stopped, or that nobody waits for, leave."""
        for lane in tuple(self._lanes):
            if lane.over:
                self._end(lane)

    def _settle_and_sweep(self) -> None:
        self._settle()
        self._sweep()

    def _end(self, lane: Lane, error: Exception | None = None) -> None:
        lane.finish(self.conversations, error)
        self._room = self._most  # there may be memory again
        with suppress(ValueError):
            self._lanes.remove(lane)

    def _run(self, parts: Sequence[Part]) -> None:
        program = self.engine.program
        began = time.perf_counter()
        parts, rows = self._rows(parts)
        if not parts:
            return
        steps = self._schedule.run(parts, program.longest_run)
        try:
            if steps == 1:
                pending = program.prepare(rows)
            else:
                pending = program.prepare(rows, steps=steps, ends=self._ends)
            self._step = _Step(parts, rows, steps, pending)
            pending.run()
        except Cancelled:
            self._settle()
            return
        except (NonFiniteLogits, InsufficientMemory) as error:
            self._settle()
            self._failed(parts, error)
            return
        except Exception as error:
            self._settle()
            for n, part in enumerate(parts):
                self._end(part.lane, copy(error) if n else error)
            return
        seconds = time.perf_counter() - began
        if steps > 1:
            seconds /= pending.made
        self._settle()
        self._schedule.record(parts, sum(len(row.tokens) for row in rows), seconds)

    def _rows(self, parts: Sequence[Part]) -> tuple[Sequence[Part], Sequence[Any]]:
        """The rows of a step, and whose they are; a grammar that fails ends its lane alone."""
        made: list[Part] = []
        rows: list[Any] = []
        for part in parts:
            lane = part.lane
            # A step that failed may have made it forget some of what it had read.
            if lane.progress.sees and lane.progress.blind(1):
                continue
            try:
                row = lane.row(part.most, part.guesses)
            except Exception as error:
                self._end(lane, error)
                continue
            made.append(part)
            rows.append(row)
        return made, rows

    def _settle(self) -> None:
        """Give all lanes what the last step gave. May be done again where it was interrupted."""
        step = self._step
        if step is None:
            return
        if not step.pending.done:
            for part in step.parts:
                part.lane.progress.failed()
            self._step = None
            return
        if step.outputs is None:
            step.outputs = step.pending.outputs()
        first, made = 0, step.pending.made if step.steps > 1 else 0
        for n, (part, row) in enumerate(zip(step.parts, step.rows, strict=True)):
            count = len(row.tokens) if row.outputs == "all" else int(row.outputs == "last")
            count = made or count
            if n >= step.given:
                self._give(part.lane, step.outputs[first : first + count])
                step.given += 1
            first += count
        self._step = None

    def _give(self, lane: Lane, outputs: Sequence[Any]) -> None:
        if lane.ended:
            return
        try:
            lane.take(outputs)
        except Exception as error:
            self._end(lane, error)
            return
        if lane.answer.reason is not None:
            self._end(lane)
        elif lane.streamed:
            lane.wake()

    # -- what goes wrong

    def _failed(self, parts: Sequence[Part], error: Exception) -> None:
        if any(part.guesses for part in parts):
            self._guessing = False  # it may have been a wrong guess that was too much
        elif isinstance(error, InsufficientMemory):
            self._make_room(error)
        elif len(parts) == 1:
            self._end(parts[0].lane, error)
        else:
            for part in parts:  # one by one, to see whose they are
                if part.lane.wants:
                    self._run([part])

    def _make_room(self, error: InsufficientMemory) -> None:
        """Go on with less; a lane that is alone, with nothing else in memory, fails.

        What is remembered goes first. Then a stream that nobody reads at the moment gives its
        session up, or the youngest lane, and reads what is known again when there is room.
        """
        if self._give_up():
            return
        holders = [lane for lane in self._lanes if lane.conversation is not None]
        if len(holders) == 1:
            self._end(holders[0], error)
            return
        idle = [lane for lane in holders if not lane.wants]
        (idle or holders)[-1].suspend(self.conversations)
        self._room = max(1, sum(lane.wants for lane in holders))

    def _give_up(self) -> bool:
        """Free some memory that no answer needs; false if there is none."""
        if self.conversations.give_up():
            return True
        return self.draft is not None and self.draft.give_up()

    # -- who takes part

    def _admit(self) -> None:
        """Give sessions to those that wait for one, as far as there is room."""
        if all([lane.progress.conversation is not None for lane in self._lanes]):
            return
        going = sum(lane.wants for lane in self._lanes)
        for lane in self._lanes:
            if lane.conversation is not None or lane.over:
                continue
            if going >= self._room:
                break
            if not self._waits(lane):
                going += self._begin(lane)

    def _begin(self, lane: Lane) -> bool:
        running = [
            other.conversation
            for other in self._lanes
            if other.conversation is not None and self.conversations.may_share(other.conversation)
        ]
        while True:
            try:
                lane.begin(self.conversations.open(lane.progress.ids, running))
            except InsufficientMemory as error:
                if self._give_up():
                    continue
                holders = [other for other in self._lanes if other.conversation is not None]
                going = sum(other.wants for other in holders)
                if going:
                    self._room = going
                elif holders:  # streams that nobody reads at the moment
                    holders[-1].suspend(self.conversations)
                    continue
                else:
                    self._end(lane, error)
                return False
            return True

    def _waits(self, lane: Lane) -> bool:
        """Whether another lane is about to read what this one begins with, too."""
        if lane.leader is not None:
            if self._leads(lane.leader, lane.boundary):
                return True
            read = lane.leader.conversation
            if read is not None and len(read.tokens) == lane.boundary:
                self.conversations.share(read)
        lane.leader = None
        ids = lane.progress.ids
        best = 0
        for other in self._lanes:
            if other is lane or other.progress.behind < 2:
                continue
            common = min(common_prefix(other.progress.ids, ids), len(ids) - 1)
            if common > best and self._leads(other, common):
                lane.leader, best = other, common
        if lane.leader is None:
            return False
        running = (other.conversation for other in self._lanes if other.conversation is not None)
        if best - self.conversations.known(ids, running) < WORTH_SHARING:
            lane.leader = None
            return False
        lane.boundary = best
        return True

    def _leads(self, lane: Lane, boundary: int) -> bool:
        """Whether `lane` goes on and has not come to `boundary` yet."""
        conversation = lane.conversation
        return (
            conversation is not None
            and lane.wants
            and not lane.over
            and len(conversation.tokens) < boundary
            and self.conversations.may_share(conversation)
        )

    def _bounds(self) -> Mapping[Lane, int]:
        """How far those may read in this step that others wait for."""
        bounds: dict[Lane, int] = {}
        for lane in self._lanes:
            leader, boundary = lane.leader, lane.boundary
            if leader is None or lane.conversation is not None:
                continue
            if leader.progress.cached < boundary:  # else there was no memory to fork it
                bounds[leader] = min(bounds.get(leader, boundary), boundary)
        for lane in self._lanes:
            if lane.progress.sees:
                readable = lane.progress.readable
                bounds[lane] = min(bounds.get(lane, readable), readable)
        return bounds
