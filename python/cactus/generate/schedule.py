"""Who gets how many rows of the next step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cactus.engine.costs import StepCosts
from cactus.generate.draft import Draft
from cactus.generate.lane import Lane
from cactus.generate.speculation import worthwhile

LONGEST_GAP = 0.030
"""Seconds that a step may take which reads prompts while a stream is being written; but where a
step that only writes takes more than half of that, twice as long as such a step."""

RUN = 0.030
"""Seconds that steps in a row may take without a look at what they gave: less than a reader sees,
and than whoever joins minds."""

FEW = 4
"""Of fewer answers at once it is looked before each step whether guesses pay: of more they seldom
do."""

FEWEST = 4
"""Rows of prompts in a step at least, however long it takes."""


class Part(NamedTuple):
    """A lane's part of a step: at most so many known tokens, and so many guesses."""

    lane: Lane
    most: int
    guesses: int = 0


class Schedule:
    """A row for each lane that writes; the rest of the step for those that read their prompts.

    While a stream is being written, a step that reads may only take so long: how many rows that
    are is learned from the steps before.
    """

    def __init__(self, chunk: int, costs: StepCosts) -> None:
        self._chunk, self._costs = chunk, costs
        self._readable = 32.0  # rows of prompts in a step of the longest gap
        self._writing = 0.0  # seconds of a step that only writes
        self._first = 0

    def parts(
        self,
        wanting: Sequence[Lane],
        bounds: Callable[[], Mapping[Lane, int]],
        *,
        guessing: bool,
        draft: Draft | None = None,
    ) -> list[Part]:
        """The next step of those that want one; nobody reads beyond its bound in this step.

        `draft` makes guesses for those that write, where nobody reads.
        """
        if len(wanting) >= self._chunk:  # not all have room: in turn
            self._first = (self._first + 1) % len(wanting)
            wanting = [*wanting[self._first :], *wanting[: self._first]]
        writers: list[Lane] = []
        readers: list[Lane] = []
        for lane in wanting:
            (readers if lane.progress.behind > 1 else writers).append(lane)
        writers = writers[: self._chunk - bool(readers)]
        room = self._chunk - len(writers)
        if not readers:
            return self._only_writing(writers, room if guessing else 0, draft)
        if any(lane.streamed for lane in writers):
            room = min(room, int(self._readable))
        return [*(Part(lane, 1) for lane in writers), *_reading(readers, room, bounds())]

    def _only_writing(self, writers: Sequence[Lane], room: int, draft: Draft | None) -> list[Part]:
        progresses = [lane.progress for lane in writers]
        spent = 0.0
        if draft is not None and room and writers:
            spent = draft.work([progress.speculation for progress in progresses], room)
        if not room or not any([progress.foresees for progress in progresses]):
            return [Part(lane, 1) for lane in writers]
        counts = worthwhile(progresses, room, self._costs, spent)
        return [Part(lane, 1, count) for lane, count in zip(writers, counts, strict=True)]

    def run(self, parts: Sequence[Part], longest: int) -> int:
        """How many steps in a row `parts` are to make before anybody looks at them."""
        if longest == 1 or self._writing == 0:
            return 1
        eager = len(parts) < FEW
        for part in parts:
            if part.guesses or part.most > 1 or part.lane.progress.behind > 1:
                return 1
            longest = part.lane.run(longest, eager)
        return max(1, min(longest, int(RUN / self._writing)))

    def record(self, parts: Sequence[Part], rows: int, seconds: float) -> None:
        """A step of `parts`, `rows` in all, took `seconds`."""
        reading = 0
        for part in parts:
            if part.most > 1:
                reading += part.most
        if reading == 0:
            self._costs.record(rows, seconds)
            usual = self._writing or seconds
            self._writing = usual + (min(seconds, 2 * usual) - usual) * 0.1
        elif any(part.most == 1 and part.lane.streamed for part in parts):
            gap = max(LONGEST_GAP, 2 * self._writing)
            wanted = reading * min(max(gap / seconds, 0.5), 1.25)
            if wanted < self._readable or reading >= int(self._readable):
                self._readable = min(max(wanted, FEWEST), self._chunk)


def _reading(readers: Sequence[Lane], room: int, bounds: Mapping[Lane, int]) -> list[Part]:
    """The room in equal parts; what one does not need is for the others."""
    left, parts = {}, []
    for lane in readers:
        end = bounds.get(lane, len(lane.progress.ids))
        left[lane] = end - lane.progress.cached
    for n, lane in enumerate(sorted(readers, key=lambda lane: left[lane])):
        rows = min(left[lane], max(1, room // (len(readers) - n)), room)
        if rows > 0:
            parts.append(Part(lane, rows))
            room -= rows
    return parts
