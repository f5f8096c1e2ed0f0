"""Blocks of rows, shared between engines on other machines, any of which may be lost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, Queue
from typing import Any, Protocol

from cactus.batch.parts import Part
from cactus.batch.rows import Row
from cactus.batch.task import Line
from cactus.errors import CactusError

FIRST = 64
"""Rows of an engine's first block at most: its rate is not known yet."""
MOST = 4096
SECONDS = 8.0
"""What a block takes: long enough that passing it on costs little, and little is lost with it."""
LEAST_SECONDS = 1.0
"""What one takes at the end, where all engines are to end together."""
GROWTH = 4
"""A block has at most so many times the rows of the one before."""
AHEAD = 2
"""Blocks that an engine is given: the next one is there when one is done."""
TRIES = 3
"""Engines that may be lost with a block before it is halved."""
ALONE = 2
"""Engines that may be lost with one row alone before it becomes an error."""
LOST_IN_A_ROW = 20
"""Engines, of each that there is room for, that are lost while none does a block."""
LOOK = 5.0
"""The seconds after which it is asked again how many engines have room."""
PATIENCE = 1800.0
"""The seconds without any engine that is ready after which the work ends."""
LETTERS = 16 << 20
"""Of the texts of a block, about."""


@dataclass(frozen=True)
class Done:
    """The lines of a block, or a file of them, and how long they took.

    No lines where the engine has begun.
    """

    lines: Sequence[Line | Part]
    seconds: float


@dataclass(frozen=True)
class Lost:
    """An engine that is no more, and why."""

    reason: str


Outcome = Done | Lost | CactusError
"""An error ends the work as a whole."""


class Remote(Protocol):
    """An engine elsewhere. It does what it is given in that order."""

    def give(self, rows: list[Row] | None, tell: Callable[[Outcome], None]) -> None:
        """Do a block, or with None load the model. `tell` is called once, on any thread."""

    def end(self) -> None:
        """Let go of it, whatever it does."""


@dataclass(eq=False)
class _Block:
    rows: list[Row]
    tries: int = TRIES
    """Engines that may still be lost with it."""
    suspect: bool = False
    """Whether one was lost with it. It is then done by one that has no other block: an answer is
    lost, too, where the next block ends its engine at once."""


@dataclass(eq=False)
class _Engine:
    remote: Remote
    given: deque[_Block | None] = field(default_factory=deque)
    ready: bool = False
    rate: float = 0.0
    """Rows a second, of late."""
    size: int = 0
    """Rows of its last new block."""

    @property
    def has_suspect(self) -> bool:
        return any(block is not None and block.suspect for block in self.given)


class Pool:
    """As many engines as there is room for, each of which gets blocks as it is free.

    `begin` begins an engine, `room` says how many the cluster has room for now. A block takes some
    seconds of the engine that it is for, by the rate of what that one has done: faster ones get
    larger blocks, and none is far behind at the end. A block whose engine is lost is done again;
    after some tries by halves, until a row is alone, which then becomes an error that names what
    its engines were lost to.
    """

    def __init__(
        self,
        begin: Callable[[], Remote],
        room: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        found: Queue[tuple[Any, Outcome]] | None = None,
    ) -> None:
        self._begin, self._room, self._clock = begin, room, clock
        self._found = Queue() if found is None else found
        self._engines: list[_Engine] = []
        self._again: deque[_Block] = deque()
        self._lost_in_a_row = 0
        self._there = clock()
        """When there was an engine at last."""
        self._looked = -math.inf
        self._wanted = 1

    def lines(self, rows: Iterator[Row], left: int) -> Generator[Line | Part, None, None]:
        """The lines of all rows, of which so many are `left`, each once.

        Raises what ends the work of an engine; CactusError where engines are lost again and again.
        """
        self._rows, self._left = rows, left
        self._more = True
        try:
            while True:
                self._resize()
                self._give()
                if not self._more and not self._again and not self._busy():
                    return
                yield from self._next()
        finally:
            for engine in self._engines:
                engine.remote.end()
            self._engines.clear()

    def _busy(self) -> bool:
        return any(any(engine.given) for engine in self._engines)

    def _resize(self) -> None:
        """Begin engines where there is room, and let go of those that nothing is left for."""
        if self._clock() - self._looked >= LOOK:
            self._looked, self._wanted = self._clock(), self._room()
        idle = [engine for engine in self._engines if not any(engine.given)]
        wanted = self._wanted
        if not self._more:
            wanted = min(wanted, len(self._engines) - len(idle) + len(self._again))
        while len(self._engines) < wanted:
            engine = _Engine(self._begin())
            self._engines.append(engine)
            self._hand(engine, None)
        if not self._more and not self._again:
            for engine in idle:
                self._engines.remove(engine)
                engine.remote.end()

    def _give(self) -> None:
        # First one block each, so that at the end none has two while another has none; and no
        # second ones while a block waits for an engine that has none.
        most = 1 if any(block.suspect for block in self._again) else AHEAD
        for count in range(1, most + 1):
            for engine in self._engines:
                if engine.ready and len(engine.given) < count and not engine.has_suspect:
                    block = self._take(engine)
                    if block is None:
                        return
                    self._hand(engine, block)

    def _take(self, engine: _Engine) -> _Block | None:
        if self._again:
            return self._again.popleft()
        if not self._more:
            return None
        rows: list[Row] = []
        size, letters = self._size(engine), 0
        while len(rows) < size and letters < LETTERS:
            row = next(self._rows, None)
            if row is None:
                self._more = False
                break
            rows.append(row)
            letters += sum(len(value) for value in row.values.values() if isinstance(value, str))
        if not rows:
            return None
        engine.size = len(rows)
        self._left -= len(rows)
        return _Block(rows)

    def _size(self, engine: _Engine) -> int:
        rates = [one.rate for one in self._engines if one.rate]
        if not engine.rate:
            return max(1, min(FIRST, self._left // (AHEAD * len(self._engines))))
        # What is left is for those that have no rate yet, too: they count as the average.
        all_rates = sum(rates) / len(rates) * len(self._engines)
        share = self._left * engine.rate / all_rates / AHEAD
        size = min(engine.rate * SECONDS, max(share, engine.rate * LEAST_SECONDS))
        return max(1, min(math.ceil(size), engine.size * GROWTH, MOST))

    def _hand(self, engine: _Engine, block: _Block | None) -> None:
        engine.given.append(block)
        rows = None if block is None else block.rows
        engine.remote.give(rows, lambda outcome: self._found.put((engine, outcome)))

    def _next(self) -> Iterator[Line | Part]:
        """What the next engine says that says something, if one does."""
        if any(engine.ready for engine in self._engines):
            self._there = self._clock()
        elif self._clock() - self._there > PATIENCE:
            raise CactusError(
                f"ray: no engine was ready for {PATIENCE / 60:.0f} minutes: the cluster has no "
                "room for one; what is done stays done"
            )
        try:
            engine, outcome = self._found.get(timeout=LOOK)
        except Empty:
            return
        if engine not in self._engines:  # it was lost, and what it had is given to others
            return
        if isinstance(outcome, CactusError):
            raise outcome
        if isinstance(outcome, Lost):
            self._lose(engine, outcome)
            return
        block = engine.given.popleft()
        engine.ready = True
        if block is None:
            return
        self._lost_in_a_row = 0
        rate = len(block.rows) / max(outcome.seconds, 1e-6)
        # A mean that believes less in one block of rows which were errors at once.
        engine.rate = 2 / (1 / (engine.rate or rate) + 1 / rate)
        self._give()  # before the lines are written
        yield from outcome.lines

    def _lose(self, engine: _Engine, lost: Lost) -> None:
        self._engines.remove(engine)
        engine.remote.end()
        self._lost_in_a_row += 1
        if self._lost_in_a_row > LOST_IN_A_ROW * max(1, self._wanted):
            raise CactusError(
                f"ray: {self._lost_in_a_row} engines were lost in a row, what is done "
                f"stays done; the last one: {lost.reason}"
            )
        blocks = [block for block in engine.given if block is not None]
        if blocks and engine.given[0] is not None:  # what it did; the others have only waited
            self._again.extendleft(reversed(blocks[1:]))
            self._again.extendleft(reversed(self._parts(blocks[0], lost)))
        else:
            self._again.extendleft(reversed(blocks))

    def _parts(self, block: _Block, lost: Lost) -> list[_Block]:
        """What becomes of a block whose engine was lost: the same, halves, or an error."""
        block.tries -= 1
        block.suspect = True
        if block.tries > 0:
            return [block]
        rows = block.rows
        if len(rows) > 1:
            half = len(rows) // 2
            parts = [rows[:half], rows[half:]]
            return [_Block(part, 1 if len(part) > 1 else ALONE, True) for part in parts]
        if rows[0].wrong is not None:
            raise CactusError(
                f"{rows[0].place}: its engine is lost even where the row is an error, what is "
                f"done stays done: {lost.reason}"
            )
        wrong = f"the engine that did this row was lost {ALONE} times: {lost.reason}"
        return [_Block([replace(rows[0], values={}, wrong=wrong)], LOST_IN_A_ROW, True)]
