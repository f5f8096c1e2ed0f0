"""The steps of many texts: rows of several of them share one, and none is padded."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from cactus.calls.stop_flag import StopFlag
from cactus.embed.pooling import F32, Pool, Pooling
from cactus.embed.texts import Item
from cactus.errors import Cancelled
from cactus.graph.step import Row
from cactus.native import Program, Session

ROWS = 256
"""Rows of a step for each thread, if no text has more: enough for all kernels to be at full speed,
and so few that their values stay in a core's cache; 512 take MiniLM 5 to 10 % more time."""

AHEAD = 16
"""Texts that are made tokens of at once: a step leaves nothing of the tokenizer in the caches."""

VALUES = 4 << 20
"""Numbers that a step of last tokens gives at most, unless it is of one text."""


@dataclass
class _Open:
    """A text that steps are reading: its session, its vector so far, and the tokens read."""

    item: Item
    session: Session
    pool: Pool
    done: int = 0

    @property
    def left(self) -> int:
        return len(self.item.ids) - self.done


@dataclass(frozen=True)
class Steps:
    """Runs texts through a program, and pools what it gives.

    A text that has more tokens than a step takes is read in pieces; they are cut where they would
    be if it were alone, so that a text has the same bits in any company.
    """

    program: Program
    pooling: Pooling

    def run(
        self, items: Iterator[Item], most: int | None, stop: StopFlag
    ) -> Generator[list[tuple[Item, F32]], None, None]:
        """The pooled vectors of texts, after each step those that are complete.

        `most` texts share a step at most; up to `AHEAD` are read before the steps that need them.
        Raises Cancelled once `stop` is set, and what `items` raises.
        """
        width = self.program.info.output_width
        most_rows = min(ROWS * self.program.info.threads, self.program.chunk)
        texts = max(1, VALUES // width) if self.pooling == "last" else most_rows
        texts = texts if most is None else min(texts, most)
        remembers: bool | None = None  # what sessions of this program do; an encoder's do not
        ahead = chain.from_iterable(iter(lambda: list(islice(items, AHEAD)), []))
        begun: list[_Open] = []  # at most one of them has been read in part
        waiting: Item | None = None
        spare: list[Session] = []
        try:
            while not stop:
                empty: list[Item] = []
                room = most_rows - sum(map(self._piece, begun))
                while room > 0 and len(begun) < texts:
                    item, waiting = waiting or next(ahead, None), None
                    if item is None:
                        break
                    if not item.ids:
                        empty.append(item)
                        continue
                    rows = min(len(item.ids), self.program.chunk)
                    if begun and rows > room:
                        waiting = item
                        break
                    session = spare.pop() if spare else self.program.session()
                    begun.append(_Open(item, session, Pool(self.pooling, width)))
                    room -= rows
                if not begun and not empty:
                    return
                if begun:
                    self._step(begun, stop)
                done = [(item, np.zeros(width, np.float32)) for item in empty]
                done += [(each.item, each.pool.vector()) for each in begun if not each.left]
                if remembers is None and begun:
                    remembers = begun[0].session.length != 0
                for each in begun:
                    if each.left:
                        continue
                    if remembers:
                        each.session.close()
                    else:
                        spare.append(each.session)
                begun = [each for each in begun if each.left]
                yield done
            raise Cancelled("stopped")
        finally:
            for session in (*(each.session for each in begun), *spare):
                session.close()

    def _piece(self, text: _Open) -> int:
        return min(text.left, self.program.chunk)

    def _step(self, texts: list[_Open], stop: StopFlag) -> None:
        """Read the next piece of each text."""
        rows = []
        for each in texts:
            count = self._piece(each)
            ids = each.item.ids[each.done : each.done + count]
            rows.append(Row(each.session, ids, each.pool.wanted(count == each.left)))
            each.done += count
        step = self.program.prepare(rows, want_logits=True, stop=stop)
        step.run()
        values, start = step.values, 0
        for each, row in zip(texts, rows, strict=True):
            end = start + row.output_count
            each.pool.add(row.count, values[start:end])
            start = end
