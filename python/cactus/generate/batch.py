"""One batch that anybody may join: all requests are rows of the same steps.

A request is a lane. It joins at any step and leaves at any step; a row has the same bits in any
company, so every answer is the one that it would be alone. One of those that wait for something
drives (`Driving`).

The driver can be interrupted at any moment. What a step gave is therefore kept until all lanes have
it, and whoever drives next goes on from there.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call, Turns
from cactus.errors import Cancelled, InsufficientMemory, NonFiniteLogits
from cactus.generate.answer import Request
from cactus.generate.conversations import WORTH_SHARING, Conversations
from cactus.generate.draft import Draft
from cactus.generate.driving import Driving
from cactus.generate.lane import Lane
from cactus.generate.mailbox import Mailbox
from cactus.generate.prefix import common_prefix
from cactus.generate.schedule import Part, Schedule

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

MOST = 64
"""Lanes in one step at most."""

LITTLE = 8
"""Less than an eighth of a step is not read by itself before a tile, but together with it: a
tile is often as long as a step, and the few tokens between two would take steps of their own."""


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


class Batch(Driving):
    """The lanes of one loaded text model."""

    def __init__(self, engine: Loaded, turns: Turns, conversations: Conversations) -> None:
        super().__init__(turns)
        self.engine, self.conversations = engine, conversations
        self.draft = None if engine.draft is None else Draft(engine, engine.draft)
        self._most = min(MOST, engine.program.chunk)
        self._schedule = Schedule(engine.program.chunk, self._most, engine.costs)
        self._ends = array("i", sorted(engine.end_tokens))
        self._little = max(1, engine.program.chunk // LITTLE)
        self._room = self._most  # lanes with a session, of those that want to go on
        self._step: _Step | None = None
        self._guessing = True

    def lane(self, call: Call, request: Request, mailbox: Mailbox, *, kept: bool = True) -> Lane:
        """A lane for `request`, which is to `join`; streamed, where the mailbox is not patient."""
        streamed = not mailbox.patient
        return Lane(
            self.engine, call, request, mailbox, streamed=streamed, kept=kept, draft=self.draft
        )

    # -- a step

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
        """The next part of an image that must be read in one step, alone in it; or nothing."""
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
        broken = self._breaks(parts) if self._schedule.breakable(parts) else None
        try:
            if steps == 1:
                pending = program.prepare(rows, stop=broken)
            else:
                pending = program.prepare(rows, steps=steps, ends=self._ends)
            self._step = _Step(parts, rows, steps, pending)
            pending.run()
        except Cancelled:
            self._settle()
            if broken is not None:
                self._schedule.broken()
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

    def _breaks(self, parts: Sequence[Part]) -> StopFlag:
        """A flag that is set, and ends the next step, as soon as one of `parts` is stopped."""
        broken = StopFlag()
        for part in parts:
            part.lane.call.step = broken
        if any([part.lane.over for part in parts]):
            broken.set()
        return broken

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
        lanes = self._lanes
        waiting = [lane for lane in lanes if lane.progress.conversation is None and not lane.over]
        if not waiting:
            return
        going = Counter([lane.tenant for lane in lanes if lane.wants])
        while waiting and going.total() < self._room:
            # The first one of the tenant that has the fewest.
            lane = min(waiting, key=lambda lane: going[lane.tenant])
            waiting.remove(lane)
            if not self._waits(lane):
                going[lane.tenant] += self._begin(lane)

    def _begin(self, lane: Lane) -> bool:
        running = [
            other.conversation
            for other in self._lanes
            if other.conversation is not None and self.conversations.may_share(other.conversation)
        ]
        while True:
            try:
                found = self.conversations.open(lane.progress.ids, running, lane.memory)
                lane.begin(found)
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
            if other is lane or other.progress.behind < 2 or other.memory != lane.memory:
                continue
            common = min(common_prefix(other.progress.ids, ids), len(ids) - 1)
            if common > best and self._leads(other, common):
                lane.leader, best = other, common
        if lane.leader is None:
            return False
        running = [other.conversation for other in self._lanes if other.conversation is not None]
        if best - self.conversations.known(ids, running, lane.memory) < WORTH_SHARING:
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
